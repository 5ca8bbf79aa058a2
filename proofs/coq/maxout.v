(* T3(c): where nonnegative L1 is right on a face, each s_i is a difference of two maxima of linear
   functions of x.  The certificate of the face (lam below) is what uniqueness of the L1 solution gives by
   strict complementarity.                                                                          *)
From mathcomp Require Import all_ssreflect all_algebra.
From mathcomp Require Import ring.
From amortgap Require Import fibre exact_decoding.

Set Implicit Arguments.
Unset Strict Implicit.
Unset Printing Implicit Defensive.

Import Order.TTheory GRing.Theory Num.Theory.
Local Open Scope ring_scope.

Section Maxout.
Variables (F : realFieldType) (M N : nat) (D : 'M[F]_(M, N)) (S : {set 'I_N}) (lam : 'rV[F]_M).

(* The certificate: D^T lam is 1 on S and less than 1 off S, and the columns of S are independent. *)
Hypothesis tight : forall k, k \in S -> (lam *m D) 0 k = 1.
Hypothesis slack : forall k, k \notin S -> (lam *m D) 0 k < 1.
Hypothesis independent : forall v : 'cV[F]_N, (forall k, k \notin S -> v k 0 = 0) -> D *m v = 0 -> v = 0.

(* Nonnegative codes supported in S. *)
Definition face (s : 'cV[F]_N) : Prop := (forall k, 0 <= s k 0) /\ (forall k, k \notin S -> s k 0 = 0).

Definition feasible (c : 'I_N -> F) (mu : 'rV[F]_M) : Prop := forall k, (mu *m D) 0 k <= c k.

(* v is the maximum of mu.x over the feasible mu: the V_c(x) of T3(c). *)
Definition is_max (c : 'I_N -> F) (s : 'cV[F]_N) (v : F) : Prop :=
  (exists mu, feasible c mu /\ preact D mu s = v) /\ forall mu, feasible c mu -> preact D mu s <= v.

(* The cost 1 + e at i, 1 elsewhere. *)
Definition cost (i : 'I_N) (e : F) (k : 'I_N) : F := 1 + e * (k == i)%:R.

Lemma preactE mu s : preact D mu s = \sum_k (mu *m D) 0 k * s k 0.
Proof. by rewrite /preact mulmxA mxE. Qed.

Lemma cost_sum i e (s : 'cV[F]_N) : \sum_k cost i e k * s k 0 = \sum_k s k 0 + e * s i 0.
Proof.
rewrite (eq_bigr (fun k => s k 0 + e * ((k == i)%:R * s k 0))) => [|k _]; last by rewrite /cost; ring.
rewrite big_split /= -mulr_sumr; congr (_ + _ * _).
by rewrite (bigD1 i) //= eqxx mul1r big1 ?addr0 // => k /negPf ->; rewrite mul0r.
Qed.

Lemma weak_duality c mu (s : 'cV[F]_N) : feasible c mu -> (forall k, 0 <= s k 0) ->
  preact D mu s <= \sum_k c k * s k 0.
Proof. by move=> fmu s_ge0; rewrite preactE; apply: ler_sum => k _; rewrite ler_wpmul2r ?fmu. Qed.

(* L1 is right on the face: s is the only nonnegative solution of least sum. *)
Theorem l1_unique (s s' : 'cV[F]_N) : face s -> (forall k, 0 <= s' k 0) -> D *m s' = D *m s ->
  \sum_k s' k 0 <= \sum_k s k 0 -> s' = s.
Proof.
move=> [s_ge0 s_off] s'_ge0 same le_sum.
have lam_s : preact D lam s = \sum_k s k 0.
  rewrite preactE; apply: eq_bigr => k _; case: (boolP (k \in S)) => kS; first by rewrite tight ?mul1r.
  by rewrite s_off // mulr0.
have term_ge0 k : 0 <= (1 - (lam *m D) 0 k) * s' k 0.
  rewrite mulr_ge0 // subr_ge0; case: (boolP (k \in S)) => kS; first by rewrite tight.
  exact: ltW (slack kS).
have sum0 : \sum_k (1 - (lam *m D) 0 k) * s' k 0 == 0.
  rewrite eq_le sumr_ge0 // andbT (eq_bigr (fun k => s' k 0 - (lam *m D) 0 k * s' k 0)) => [|k _].
    rewrite sumrB -preactE subr_le0; have -> : preact D lam s' = preact D lam s by rewrite /preact same.
    by rewrite lam_s.
  by rewrite mulrBl mul1r.
have off k : k \notin S -> s' k 0 = 0.
  move=> kS; move: sum0; rewrite psumr_eq0 // => /allP /(_ k (mem_index_enum k)) /=.
  by rewrite mulf_eq0 subr_eq0 gt_eqF ?slack //= => /eqP.
apply/eqP; rewrite -subr_eq0; apply/eqP/independent; last by rewrite mulmxBr same subrr.
by move=> k kS; rewrite !mxE off // s_off // subrr.
Qed.

(* For i in S some mu has D^T mu = e_i on S. *)
Lemma dual_basis i : i \in S -> exists mu : 'rV[F]_M, forall k, k \in S -> (mu *m D) 0 k = (k == i)%:R.
Proof.
move=> iS; pose DS : 'M[F]_(M, N) := \matrix_(r, k) (if k \in S then D r k else 0).
have : (erow F i <= DS)%MS.
  rewrite submxE; apply: contraT => nz; exfalso.
  have [j nz_j] : exists j, (erow F i *m cokermx DS) 0 j != 0.
    apply/existsP; rewrite -negb_forall; apply: contra nz => /forallP all0.
    by apply/eqP/rowP=> j; rewrite (eqP (all0 j)) mxE.
  pose v : 'cV[F]_N := \col_k (if k \in S then cokermx DS k j else 0).
  have Dv : D *m v = 0.
    apply/colP=> r; have := congr1 (fun X : 'M_(M, N) => X r j) (mulmx_coker DS); rewrite !mxE => E.
    rewrite -[RHS]E; apply: eq_bigr => k _; rewrite !mxE.
    by case: (k \in S); rewrite ?mulr0 ?mul0r.
  have v0 : v = 0 by apply: independent => // k kS; rewrite mxE (negPf kS).
  have vi : v i 0 = cokermx DS i j by rewrite [LHS]mxE iS.
  have vi0 : v i 0 = 0 by rewrite v0 mxE.
  by move: nz_j; rewrite /erow -rowE [X in X != _]mxE -vi vi0 eqxx.
case/submxP=> mu muE; exists mu => k kS.
have := congr1 (fun X : 'rV_N => X 0 k) muE; rewrite !mxE eqxx /= => ->.
by apply: eq_bigr => r _; rewrite !mxE kS.
Qed.

Theorem maxout_difference :
  exists e0, 0 < e0 /\ forall i e, 0 < e <= e0 -> forall s, face s ->
  forall v v', is_max (fun=> 1) s v -> is_max (cost i e) s v' -> (v' - v) / e = s i 0.
Proof.
have /fin_all_exists[mu muP] : forall i, exists mu : 'rV[F]_M,
    i \in S -> forall k, k \in S -> (mu *m D) 0 k = (k == i)%:R.
  move=> i; case: (boolP (i \in S)) => iS; last by exists 0.
  by have [mu muP] := dual_basis iS; exists mu.
pose a i k := `|(mu i *m D) 0 k| / (1 - (lam *m D) 0 k).
pose q := 1 + \sum_i \sum_(k | k \notin S) a i k.
have a_ge0 i k : k \notin S -> 0 <= a i k by move=> kS; rewrite divr_ge0 // subr_ge0 ltW ?slack.
have q_gt0 : 0 < q by rewrite ltr_paddr // sumr_ge0 // => i _; rewrite sumr_ge0 // => k; exact: a_ge0.
have a_le i k : k \notin S -> a i k <= q.
  move=> kS; rewrite /q (bigD1 i) //= (bigD1 k) //= addrCA -!addrA ler_addl !addr_ge0 //.
  - by apply: sumr_ge0 => j /andP[jS _]; exact: a_ge0.
  - by apply: sumr_ge0 => j _; apply: sumr_ge0 => l; exact: a_ge0.
have feas0 : feasible (fun=> 1) lam.
  by move=> k; case: (boolP (k \in S)) => kS; [rewrite tight | exact: ltW (slack kS)].
have val0 s : face s -> preact D lam s = \sum_k s k 0.
  move=> [s_ge0 s_off]; rewrite preactE; apply: eq_bigr => k _.
  by case: (boolP (k \in S)) => kS; [rewrite tight ?mul1r | rewrite s_off ?mulr0].
exists q^-1; split; first by rewrite invr_gt0.
move=> i e /andP[e_gt0 e_le] s sface v v' [[m [fm mv]] m_max] [[m' [fm' mv']] m'_max].
have [s_ge0 s_off] := sface.
(* both maxima are the cost of s *)
have vE : v = \sum_k s k 0.
  apply/eqP; rewrite eq_le -(val0 s sface) m_max // andbT -mv (le_trans (weak_duality fm s_ge0)) //.
  by rewrite val0 // le_eqVlt; apply/orP; left; apply/eqP/eq_bigr => k _; rewrite mul1r.
have v'_le : v' <= \sum_k s k 0 + e * s i 0 by rewrite -mv' -cost_sum weak_duality.
have v'E : v' = \sum_k s k 0 + e * s i 0.
  apply/eqP; rewrite eq_le v'_le /=.
  case: (boolP (i \in S)) => iS; last first.
    rewrite s_off // mulr0 addr0 -val0 //; apply: m'_max => k; apply: le_trans (feas0 k) _.
    by rewrite /cost ler_addl mulr_ge0 ?ler0n ?(ltW e_gt0).
  have mixE k : ((lam + e *: mu i) *m D) 0 k = (lam *m D) 0 k + e * (mu i *m D) 0 k.
    by rewrite mulmxDl -scalemxAl [LHS]mxE [X in _ + X]mxE.
  have value : preact D (lam + e *: mu i) s = \sum_k s k 0 + e * s i 0.
    rewrite -cost_sum preactE; apply: eq_bigr => k _; rewrite mixE /cost.
    by case: (boolP (k \in S)) => kS; [rewrite tight ?muP | rewrite s_off ?mulr0].
  rewrite -value; apply: m'_max => k; rewrite mixE /cost.
  case: (boolP (k \in S)) => kS; first by rewrite tight ?muP.
  have -> : (k == i) = false by apply: contraNF kS => /eqP->.
  rewrite mulr0 addr0 -ler_subr_addl.
  have gap_gt0 : 0 < 1 - (lam *m D) 0 k by rewrite subr_gt0 slack.
  apply: le_trans (ler_wpmul2l (ltW e_gt0) (ler_norm _)) _.
  rewrite -[X in _ <= X]mul1r -ler_pdivr_mulr // -mulrA -/(a i k).
  apply: (@le_trans _ _ (e * q)); first by rewrite ler_wpmul2l ?a_le // ltW.
  by rewrite -ler_pdivl_mulr // mul1r.
by rewrite v'E vE addrAC subrr add0r mulrAC divff ?mul1r // lt0r_neq0.
Qed.

End Maxout.

(* One check for all of them. *)
Definition theorems := (@l1_unique, @dual_basis, @maxout_difference).
Print Assumptions theorems.
