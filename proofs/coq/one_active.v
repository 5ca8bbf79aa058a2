(* T2: one active latent.  Coordinate i of a 1-sparse nonnegative code can be read by some pointwise
   latent if and only if d_i is not in the cone of the other columns; then a ReLU without bias does it.
   Sharpness: three measurements are enough for any number of latents (columns on a parabola).
   Farkas' lemma is proved here by Bartl's induction, over any real field.                          *)
From mathcomp Require Import all_ssreflect all_algebra.
From mathcomp Require Import ring.
From amortgap Require Import fibre exact_decoding.

Set Implicit Arguments.
Unset Strict Implicit.
Unset Printing Implicit Defensive.

Import Order.TTheory GRing.Theory Num.Theory.
Local Open Scope ring_scope.

Section Farkas.
Variables (F : realFieldType) (M : nat).

Definition dot (w : 'rV[F]_M) (v : 'cV[F]_M) : F := (w *m v) 0 0.

Lemma dotB w u v : dot w (u - v) = dot w u - dot w v.
Proof. by rewrite /dot mulmxBr [LHS]mxE [X in _ + X]mxE. Qed.
Lemma dotZ w c v : dot w (c *: v) = c * dot w v.
Proof. by rewrite /dot -scalemxAr mxE. Qed.
Lemma dot0 w : dot w 0 = 0.
Proof. by rewrite /dot mulmx0 mxE. Qed.
Lemma dotBl w w' v : dot (w - w') v = dot w v - dot w' v.
Proof. by rewrite /dot mulmxBl [LHS]mxE [X in _ + X]mxE. Qed.
Lemma dotZl c w v : dot (c *: w) v = c * dot w v.
Proof. by rewrite /dot -scalemxAl mxE. Qed.
Lemma dot_sum w (I : finType) (P : pred I) (f : I -> 'cV[F]_M) :
  dot w (\sum_(j | P j) f j) = \sum_(j | P j) dot w (f j).
Proof. by rewrite /dot mulmx_sumr summxE. Qed.

(* b is a nonnegative combination of the vectors of l. *)
Fixpoint in_cone (l : seq 'cV[F]_M) (b : 'cV[F]_M) : Prop :=
  if l is a :: l' then exists c, 0 <= c /\ in_cone l' (b - c *: a) else b = 0.

(* Removing from each generator v a nonpositive multiple of a moves the cone by a multiple of a. *)
Lemma in_cone_shift (a : 'cV[F]_M) (c : 'cV[F]_M -> F) l b :
    (forall v, v \in l -> c v <= 0) -> in_cone [seq v - c v *: a | v <- l] b ->
  exists d, 0 <= d /\ in_cone l (b - d *: a).
Proof.
elim: l b => [|v l IH] b c_le0 /=.
  by move=> ->; exists 0; rewrite scale0r subr0.
case=> k [k_ge0 /IH[|d [d_ge0 cone_d]]].
  by move=> u ul; apply: c_le0; rewrite inE ul orbT.
have cv_le0 : c v <= 0 by apply: c_le0; rewrite inE eqxx.
exists (d - k * c v); split; first by rewrite addr_ge0 // oppr_ge0 mulr_ge0_le0.
exists k; split=> //; congr (in_cone l _): cone_d.
by rewrite scalerBr scalerBl scalerA; apply/colP=> r; rewrite !mxE; ring.
Qed.

(* Farkas' lemma. *)
Lemma farkas l b :
  in_cone l b \/ exists w, (forall v, v \in l -> dot w v <= 0) /\ 0 < dot w b.
Proof.
elim: {l}(size l) {-2}l b (erefl (size l)) => [|n IH] [|a l] b //= => [_|[size_l]].
  have [->|b_neq0] := eqVneq b 0; [by left | right; exists b^T; split=> //].
  have [k bk_neq0] : exists k, b k 0 != 0.
    apply/existsP; rewrite -negb_forall; apply: contra b_neq0 => /forallP b0.
    by apply/eqP/colP=> k; rewrite mxE; apply/eqP.
  rewrite /dot mxE (bigD1 k) //= ltr_paddr //; last by rewrite mxE -expr2 exprn_even_gt0.
  by apply: sumr_ge0 => j _; rewrite mxE -expr2 sqr_ge0.
have [cone_b|[w [w_l w_b]]] := IH l b size_l.
  by left; exists 0; split=> //; rewrite scale0r subr0.
have [w_a|w_a] := lerP (dot w a) 0.
  by right; exists w; split=> // v; rewrite inE => /predU1P[->|/w_l].
pose c v := dot w v / dot w a.
have c_l v : v \in l -> c v <= 0 by move=> /w_l wv; rewrite mulr_le0_ge0 // invr_ge0 ltW.
have wa_neq0 := lt0r_neq0 w_a.
case: (IH [seq v - c v *: a | v <- l] (b - c b *: a)).
- by rewrite size_map.
- case/in_cone_shift => // d [d_ge0 cone_d]; left; exists (c b + d); split.
    by rewrite addr_ge0 // divr_ge0 // ltW.
  by rewrite scalerDl opprD addrA.
case=> w' [w'_l w'_b]; right; exists (w' - (dot w' a / dot w a) *: w).
have w''E v : dot (w' - (dot w' a / dot w a) *: w) v = dot w' (v - c v *: a).
  by rewrite dotBl dotZl dotB dotZ /c; field.
split=> [v|]; last by rewrite w''E.
rewrite w''E inE => /predU1P[->|vl]; first by rewrite dotB dotZ /c divff // mul1r subrr.
by apply: w'_l; apply: map_f.
Qed.

(* Nonnegative combinations in the form of sums. *)
Lemma in_cone_sum (I : finType) (P : pred I) (f : I -> 'cV[F]_M) b :
  in_cone [seq f j | j <- enum P] b ->
  exists lam : I -> F, (forall j, 0 <= lam j) /\ b = \sum_(j | P j) lam j *: f j.
Proof.
suff aux (s : seq I) b' : uniq s -> in_cone [seq f j | j <- s] b' ->
    exists lam : I -> F, (forall j, 0 <= lam j) /\ b' = \sum_(j <- s) lam j *: f j.
  move=> /aux[|lam [lam_ge0 ->]]; first exact: enum_uniq.
  by exists lam; split=> //; rewrite -big_enum.
elim: s b' => [|i s IH] b' /=; first by move=> _ ->; exists (fun=> 0); rewrite big_nil.
case/andP=> i_s s_uniq [c [c_ge0 /(IH _ s_uniq)[lam [lam_ge0 b'E]]]].
exists (fun j => if j == i then c else lam j); split; first by move=> j; case: ifP.
rewrite big_cons eqxx -(subrK (c *: f i) b') addrC b'E; congr (_ + _).
rewrite !big_seq; apply: eq_bigr => j js; case: eqP => // ji.
by rewrite -ji js in i_s.
Qed.

End Farkas.

Section OneActive.
Variables (F : realFieldType) (M N : nat) (D : 'M[F]_(M, N)).

(* 1-sparse nonnegative codes: s = t e_j with t > 0. *)
Definition one_active (s : 'cV[F]_N) : Prop := exists j t, 0 < t /\ s = t *: ecol F j.

Definition relu (t : F) : F := Num.max t 0.

(* d_i is a nonnegative combination of the other columns. *)
Definition in_others_cone (i : 'I_N) : Prop :=
  exists lam : 'I_N -> F, (forall j, 0 <= lam j) /\ col i D = \sum_(j | j != i) lam j *: col j D.

Lemma preact_one (w : 'rV[F]_M) t j : preact D w (t *: ecol F j) = t * dot w (col j D).
Proof. by rewrite /preact /dot -!scalemxAr colE mxE. Qed.

Lemma one_active_entry (t : F) (i j : 'I_N) : (t *: ecol F j) i 0 = if j == i then t else 0.
Proof. by rewrite !mxE eqxx andbT eq_sym; case: eqP; rewrite ?mulr1 ?mulr0. Qed.

(* If some pointwise latent is exact, d_i is outside the cone of the others. *)
Lemma one_active_necessary (w : 'rV[F]_M) (sigma : F -> F) (i : 'I_N) :
  (forall s, one_active s -> sigma (preact D w s) = s i 0) -> ~ in_others_cone i.
Proof.
move=> dec [lam [lam_ge0 diE]]; pose p j := dot w (col j D).
have decE t j : 0 < t -> sigma (t * p j) = if j == i then t else 0.
  by move=> t_gt0; rewrite -preact_one dec ?one_active_entry //; exists j, t.
have pi_neq0 : p i != 0.
  apply/eqP=> pi0; have := decE 2%:R i (ltr0n F 2); rewrite pi0 mulr0 eqxx => sig2.
  have := decE 1 i ltr01; rewrite pi0 mulr0 eqxx sig2 => /eqP.
  by rewrite -[1]/(1%:R) eqr_nat.
have pj_le0 j : j != i -> p j * p i <= 0.
  move=> j_neq_i; rewrite leNgt; apply/negP=> p_gt0.
  have pj_neq0 : p j != 0 by apply: contraTneq p_gt0 => ->; rewrite mul0r ltxx.
  have t_gt0 : 0 < p i / p j.
    have -> : p i / p j = p j * p i / p j ^+ 2 by field.
    by rewrite divr_gt0 // exprn_even_gt0.
  have := decE _ j t_gt0; rewrite divfK // (negPf j_neq_i).
  by have := decE 1 i ltr01; rewrite mul1r eqxx => -> /eqP; rewrite oner_eq0.
have : p i ^+ 2 <= 0.
  rewrite expr2 {1}/p diE dot_sum mulr_suml -oppr_ge0 -sumrN.
  apply: sumr_ge0 => j j_neq_i; rewrite oppr_ge0.
  by rewrite dotZ -mulrA mulr_ge0_le0 // pj_le0.
by rewrite leNgt exprn_even_gt0 ?pi_neq0.
Qed.

(* If d_i is outside the cone of the others, a ReLU without bias is exact. *)
Lemma one_active_sufficient (i : 'I_N) :
  ~ in_others_cone i -> exists w, forall s, one_active s -> relu (preact D w s) = s i 0.
Proof.
move=> not_cone.
have [cone_i|[w [w_others w_i]]] := farkas [seq col j D | j <- enum (fun j => j != i)] (col i D).
  by case: not_cone; exact: in_cone_sum cone_i.
exists ((dot w (col i D))^-1 *: w) => _ [j [t [t_gt0 ->]]].
rewrite preact_one dotZl one_active_entry /relu.
have [->|j_neq_i] := eqVneq j i; first by rewrite mulVf ?lt0r_neq0 // mulr1 max_l // ltW.
rewrite max_r // pmulr_rle0 // pmulr_rle0 ?invr_gt0 //.
by apply: w_others; apply: map_f; rewrite mem_enum.
Qed.

(* T2, the K = 1 criterion. *)
Theorem one_active_criterion (i : 'I_N) :
  (exists w (sigma : F -> F), forall s, one_active s -> sigma (preact D w s) = s i 0)
  <-> ~ in_others_cone i.
Proof.
split=> [[w [sigma]]|/one_active_sufficient[w dec]]; first exact: one_active_necessary.
by exists w, relu.
Qed.

(* one_active is k_sparse 1. *)
Lemma one_activeP s : one_active s <-> k_sparse 1 s.
Proof.
split=> [[j [t [t_gt0 ->]]]|[s_ge0 /eqP/cards1P[j suppE]]].
  split=> [k|]; first by rewrite one_active_entry; case: eqP => // _; rewrite ltW.
  rewrite -[RHS](cards1 j); congr #|pred_of_set _|; apply/setP=> k.
  rewrite !inE one_active_entry [k == j]eq_sym.
  by case: (j == k); [exact: lt0r_neq0 | rewrite eqxx].
have sj_neq0 : s j 0 != 0 by have := set11 j; rewrite -suppE inE.
exists j, (s j 0); split; first by rewrite lt_def sj_neq0 s_ge0.
apply/colP=> k; rewrite one_active_entry; case: eqP => [->//|/eqP j_neq_k].
apply/eqP; apply: contraNT j_neq_k => sk.
have : k \in [set j] by rewrite -suppE inE.
by rewrite inE eq_sym.
Qed.

(* TopK(1) with W = D^T: for distinct unit columns the active latent has the strictly largest
   pre-activation, and this pre-activation is its amplitude.  Boolean side information that looks at x
   closes the gap at K = 1, whatever M is.                                                          *)
Theorem topk1_exact :
    (forall j, \sum_r D r j ^+ 2 = 1) -> (forall j k, col j D = col k D -> j = k) ->
  forall s, one_active s -> exists i,
    (forall j, j != i -> preact D (col j D)^T s < preact D (col i D)^T s) /\
    s = preact D (col i D)^T s *: ecol F i.
Proof.
move=> unit distinct _ [i [t [t_gt0 ->]]]; exists i.
have dotE j : dot (col j D)^T (col i D) = \sum_r D r j * D r i.
  by rewrite /dot mxE; apply: eq_bigr => r _; rewrite !mxE.
have self : dot (col i D)^T (col i D) = 1.
  by rewrite dotE -[RHS](unit i); apply: eq_bigr => r _; rewrite expr2.
split=> [j j_neq_i|]; last by rewrite preact_one self mulr1.
rewrite !preact_one self ltr_pmul2l // dotE -subr_gt0.
have dist : \sum_r (D r j - D r i) ^+ 2 = (1 - \sum_r D r j * D r i) *+ 2.
  rewrite (eq_bigr (fun r => D r j ^+ 2 + D r i ^+ 2 - (D r j * D r i) *+ 2)); last first.
    by move=> r _; ring.
  by rewrite sumrB big_split /= !unit sumrMnl mulrnBl.
rewrite -(pmulrn_lgt0 _ (ltn0Sn 1)) -dist lt_def sumr_ge0 ?andbT => [|r _]; last exact: sqr_ge0.
rewrite psumr_eq0 => [|r _]; last exact: sqr_ge0.
apply: contra j_neq_i => /allP all0; apply/eqP/distinct/colP=> r; rewrite !mxE.
by have /= := all0 r (mem_index_enum r); rewrite sqrf_eq0 subr_eq0 => /eqP.
Qed.

End OneActive.

Section Parabola.
Variables (F : realFieldType) (N : nat).

(* Columns (1, k, k^2): M = 3 measurements for any number N of latents. *)
Definition parabola : 'M[F]_(3, N) := \matrix_(r, k) k%:R ^+ r.

Definition parabola_row (i : 'I_N) : 'rV[F]_3 :=
  \row_r [:: 1 - i%:R ^+ 2; 2%:R * i%:R; -1]`_r.

(* T2, sharpness: the ReLU encoder without bias whose rows are parabola_row is exact at K = 1. *)
Theorem parabola_exact (i : 'I_N) s :
  one_active s -> relu (preact parabola (parabola_row i) s) = s i 0.
Proof.
case=> j [t [t_gt0 ->]]; rewrite preact_one one_active_entry /relu.
have -> : dot (parabola_row i) (col j parabola) = 1 - (i%:R - j%:R) ^+ 2.
  by rewrite /dot mxE !big_ord_recl big_ord0 !mxE /=; ring.
have [->|j_neq_i] := eqVneq j i; first by rewrite subrr expr0n subr0 mulr1 max_l // ltW.
rewrite max_r // pmulr_rle0 // subr_le0.
wlog lt_ji : i j j_neq_i / (j < i)%N.
  move=> gen; case: (ltngtP j i) => [||/val_inj ji]; [exact: gen| |by rewrite ji eqxx in j_neq_i].
  by move=> lt_ij; rewrite -sqrrN opprB gen // eq_sym.
by rewrite -natrB 1?ltnW // -natrX ler1n expn_gt0 subn_gt0 lt_ji.
Qed.

End Parabola.

(* One check for all of them. *)
Definition theorems := (@farkas, @one_active_criterion, @one_activeP, @topk1_exact, @parabola_exact).
Print Assumptions theorems.
