(* Countable side information.  Over an order-complete field, the reals, every countable type is poor
   (see fibre.v), so T1 and its consequences hold for countably many gate values.  Cantor's nested
   intervals, arranged so that no choice and no classical logic is needed; completeness is a hypothesis,
   not an axiom.                                                                                    *)
From mathcomp Require Import all_ssreflect all_algebra.
From mathcomp Require Import ring.
From amortgap Require Import fibre exact_decoding several_rows.

Set Implicit Arguments.
Unset Strict Implicit.
Unset Printing Implicit Defensive.

Import Order.TTheory GRing.Theory Num.Theory.
Local Open Scope ring_scope.

(* Every nonempty bounded set has a least upper bound. *)
Definition order_complete (F : realFieldType) : Prop :=
  forall A : F -> Prop, (exists x, A x) -> (exists b, forall x, A x -> x <= b) ->
  exists c, (forall x, A x -> x <= c) /\ (forall b, (forall x, A x -> x <= b) -> c <= b).

Section Cantor.
Variables (F : realFieldType) (G : countType) (e : F) (g : F -> G).
Hypothesis e_gt0 : 0 < e.
Hypothesis g_inj : forall t t', `|t| < e -> `|t'| < e -> g t = g t' -> t = t'.

(* Some point of [l, r] has the n-th value. *)
Definition hit n l r := exists t, l <= t <= r /\ pickle (g t) = n.

(* The n-th interval avoids the first n values: keep the left third, or else the right third. *)
Fixpoint stage (n : nat) (l r : F) : Prop :=
  if n is n'.+1 then exists l0 r0, stage n' l0 r0 /\
    ((~ hit n' l0 (l0 + (r0 - l0) / 3%:R) /\ l = l0 /\ r = l0 + (r0 - l0) / 3%:R) \/
     (hit n' l0 (l0 + (r0 - l0) / 3%:R) /\ l = r0 - (r0 - l0) / 3%:R /\ r = r0))
  else l = 0 /\ r = e / 2%:R.

Lemma third_gt0 (l r : F) : l < r -> 0 < (r - l) / 3%:R.
Proof. by move=> lr; rewrite divr_gt0 ?subr_gt0 ?ltr0n. Qed.

Lemma third_lt (l r : F) : l < r -> l + (r - l) / 3%:R < r - (r - l) / 3%:R.
Proof.
move=> lr; rewrite -subr_gt0.
have -> : r - (r - l) / 3%:R - (l + (r - l) / 3%:R) = (r - l) / 3%:R by field.
exact: third_gt0.
Qed.

Lemma stage_uniq n l r l' r' : stage n l r -> stage n l' r' -> l = l' /\ r = r'.
Proof.
elim: n l r l' r' => [|n IH] l r l' r' /=; first by move=> [-> ->] [-> ->].
move=> [l0 [r0 [st step]]] [l1 [r1 [st' step']]]; have [eq_l eq_r] := IH _ _ _ _ st st'; subst l1 r1.
by case: step step' => [[nh [-> ->]]|[h [-> ->]]] [[nh' [-> ->]]|[h' [-> ->]]] //; exfalso; auto.
Qed.

Lemma stage_step n l r l' r' : stage n l r -> stage n.+1 l' r' -> l < r -> [/\ l <= l', l' < r' & r' <= r].
Proof.
move=> st /= [l0 [r0 [st0 step]]] lr; have [? ?] := stage_uniq st st0; subst l0 r0.
have t_gt0 := third_gt0 lr; have t_lt := third_lt lr.
have lo : l <= l + (r - l) / 3%:R by rewrite ler_addl ltW.
have hi : r - (r - l) / 3%:R <= r by rewrite ger_addl oppr_le0 ltW.
case: step => -[_ [-> ->]]; split=> //.
- by rewrite ltr_addl.
- exact: le_trans (ltW t_lt) hi.
- exact: le_trans lo (ltW t_lt).
- by rewrite gtr_addl oppr_lt0.
Qed.

Lemma stage_range n l r : stage n l r -> [/\ 0 <= l, l < r & r <= e / 2%:R].
Proof.
elim: n l r => [|n IH] l r.
  by move=> [-> ->]; split=> //; rewrite divr_gt0 ?ltr0n.
move=> st; have [l0 [r0 [st0 _]]] := st; have [l0_ge0 lr0 r0_le] := IH _ _ st0.
have [le_l lr le_r] := stage_step st0 st lr0.
by split=> //; [exact: le_trans le_l | exact: le_trans r0_le].
Qed.

Lemma stage_nested n k l r l' r' : stage n l r -> stage (n + k) l' r' -> l <= l' /\ r' <= r.
Proof.
move=> st; elim: k l' r' => [|k IH] l' r'.
  by rewrite addn0 => st'; have [-> ->] := stage_uniq st st'.
rewrite addnS => st'; have [l0 [r0 [st0 _]]] := st'.
have [le_l le_r] := IH _ _ st0; have [_ lr0 _] := stage_range st0.
have [le_l' _ le_r'] := stage_step st0 st' lr0.
by split; [exact: le_trans le_l' | exact: le_trans le_r].
Qed.

(* A stage exists, up to a double negation: enough to prove a contradiction. *)
Lemma stage_exists n : ~ ~ (exists l r, stage n l r).
Proof.
elim: n => [|n IH] no; first by apply: no; exists 0, (e / 2%:R).
apply: IH => -[l [r st]]; have no_hit : ~ hit n l (l + (r - l) / 3%:R).
  move=> h; apply: no; exists (r - (r - l) / 3%:R), r, l, r; split=> //.
  by right.
by apply: no; exists l, (l + (r - l) / 3%:R), l, r; split=> //; left.
Qed.

Lemma no_injection : order_complete F -> False.
Proof.
move=> complete; pose A l := exists n r, stage n l r.
have below n l r l' : stage n l r -> A l' -> l' <= r.
  move=> st [m [r' st']]; have [_ lr' _] := stage_range st'; have [_ lr _] := stage_range st.
  have [nm|/ltnW mn] := leqP n m.
    move: st'; rewrite -(subnKC nm) => st'; have [_ le_r] := stage_nested st st'.
    exact: le_trans (ltW lr') le_r.
  move: st; rewrite -(subnKC mn) => st; have [le_l _] := stage_nested st' st.
  exact: le_trans le_l (ltW lr).
have [||c [c_ub c_least]] := complete A.
- by exists 0, 0%N, (e / 2%:R).
- by exists (e / 2%:R) => l; apply: (below 0%N 0).
have inside n l r : stage n l r -> l <= c <= r.
  move=> st; apply/andP; split; first by apply: c_ub; exists n, r.
  by apply: c_least => l' Al'; exact: below st Al'.
have small t : 0 <= t <= e / 2%:R -> `|t| < e.
  case/andP=> t_ge0 t_le; rewrite ger0_norm //; apply: le_lt_trans t_le _.
  by rewrite ltr_pdivr_mulr ?ltr0n // ltr_pmulr // ltr1n.
have range n l r t : stage n l r -> l <= t <= r -> `|t| < e.
  move=> st /andP[lt tr]; have [l_ge0 _ r_le] := stage_range st.
  by apply: small; rewrite (le_trans l_ge0 lt) (le_trans tr r_le).
apply: (@stage_exists (pickle (g c)).+1) => -[l [r st]].
have /= [l0 [r0 [st0 [[no_hit [lE rE]]|[[t [/andP[t_ge t_le] eq_g]] [lE rE]]]]]] := st.
  by apply: no_hit; exists c; split=> //; rewrite -rE -{1}lE (inside _ _ _ st).
have [_ lr0 _] := stage_range st0; have c_in := inside _ _ _ st.
have t_lt_c : t < c.
  apply: le_lt_trans t_le _; apply: lt_le_trans (third_lt lr0) _.
  by rewrite -lE; case/andP: c_in.
have t_r0 : t <= r0.
  by apply: (le_trans (ltW t_lt_c)); rewrite -rE; case/andP: c_in.
have tc : t = c.
  apply: g_inj; [apply: range st0 _ | exact: range st c_in | exact: (pcan_inj (@pickleK G))].
  by rewrite t_ge.
by rewrite tc ltxx in t_lt_c.
Qed.

End Cantor.

(* Countable types are poor over the reals. *)
Theorem countable_poor (F : realFieldType) (G : countType) : order_complete F -> poor F G.
Proof. by move=> complete e e_gt0 g g_inj; exact: (@no_injection F G e g e_gt0 g_inj complete). Qed.

(* T1 with countably many gate values. *)
Corollary exact_latent_countable (F : realFieldType) (M N : nat) (D : 'M[F]_(M, N)) (G : countType)
    (S : 'cV[F]_N -> Prop) (w : 'rV[F]_M) (phi : F -> G -> F) (gam : 'cV[F]_N -> G) (i : 'I_N) :
    order_complete F -> (1 < N)%N -> rich S i -> decodes D S w phi gam i ->
  exists c, c != 0 /\ w *m D = c *: erow F i.
Proof. by move=> complete N_gt1; apply: exact_latent N_gt1 (countable_poor complete). Qed.

Corollary gated_gap_countable (F : realFieldType) (M N : nat) (D : 'M[F]_(M, N)) (G : countType) (K p : nat)
    (W : 'I_N -> 'M[F]_(p, M)) (phi : 'I_N -> 'cV[F]_p -> G -> F) (gam : 'I_N -> 'cV[F]_N -> G) :
    order_complete F -> (p < K <= N)%N -> (M < N)%N ->
  ~ (forall i s, k_sparse K s -> phi i (W i *m (D *m s)) (gam i s) = s i 0).
Proof. by move=> complete; apply: rows_gap (countable_poor complete). Qed.

(* One check for all of them. *)
Definition theorems := (@countable_poor, @exact_latent_countable, @gated_gap_countable).
Print Assumptions theorems.
