(* T1: which latents a pointwise encoder can read exactly, for codes rich enough.

   Notation.  D is the M x N dictionary, a code is a column s, a measurement is x = D s.  Latent i
   reads x through one row w: its pre-activation is w D s, its output phi (w D s) (gam s), where phi is
   an arbitrary function and gam an arbitrary function of the WHOLE code with values in a poor type G
   (see fibre.v): a gate, a TopK or BatchTopK membership, an oracle for the support.                *)
From mathcomp Require Import all_ssreflect all_algebra.
From amortgap Require Import fibre.

Set Implicit Arguments.
Unset Strict Implicit.
Unset Printing Implicit Defensive.

Import Order.TTheory GRing.Theory Num.Theory.
Local Open Scope ring_scope.

Section ExactDecoding.
Variables (F : realFieldType) (M N : nat) (D : 'M[F]_(M, N)).

(* e_i as a code (column) and as a linear functional on codes (row). *)
Definition ecol (i : 'I_N) : 'cV[F]_N := delta_mx i 0.
Definition erow (i : 'I_N) : 'rV[F]_N := delta_mx 0 i.

Definition preact (w : 'rV[F]_M) (s : 'cV[F]_N) : F := (w *m (D *m s)) 0 0.

(* Latent (w, phi, gam) outputs s_i on every code of S. *)
Definition decodes (G : Type) (S : 'cV[F]_N -> Prop) (w : 'rV[F]_M)
    (phi : F -> G -> F) (gam : 'cV[F]_N -> G) (i : 'I_N) : Prop :=
  forall s, S s -> phi (preact w s) (gam s) = s i 0.

(* Coordinate i can be decoded on S by some latent with side information in G. *)
Definition decodable (G : Type) (S : 'cV[F]_N -> Prop) (i : 'I_N) : Prop :=
  exists w (phi : F -> G -> F) gam, decodes S w phi gam i.

(* Richness at i: for every j <> i the set S contains an open box in the (i, j) plane somewhere. *)
Definition rich (S : 'cV[F]_N -> Prop) (i : 'I_N) : Prop :=
  forall j, j != i -> exists (s0 : 'cV[F]_N) (r : F), 0 < r /\
    forall al be, `|al| < r -> `|be| < r -> S (s0 + al *: ecol i + be *: ecol j).

(* e_i lies in the row space R of D (equivalently the leverage h_i is 1: see leverage.v). *)
Definition in_row_space (i : 'I_N) : bool := (erow i <= D)%MS.

Lemma mul_erow (a : 'rV[F]_N) i : a *m ecol i = (a 0 i)%:M.
Proof. by rewrite /ecol -colE [LHS]mx11_scalar mxE. Qed.

Lemma preact_box w s0 i j al be :
  preact w (s0 + al *: ecol i + be *: ecol j) =
  preact w s0 + (w *m D) 0 i * al + (w *m D) 0 j * be.
Proof.
rewrite /preact !mulmxA !mulmxDr -!scalemxAr !mul_erow !mxE !eqxx !mulr1n.
by rewrite [al * _]mulrC [be * _]mulrC.
Qed.

(* T1.  A latent that is exact on a set rich at i reads only s_i: w D = c e_i with c <> 0. *)
Theorem exact_latent (G : Type) (S : 'cV[F]_N -> Prop) (w : 'rV[F]_M)
    (phi : F -> G -> F) (gam : 'cV[F]_N -> G) (i : 'I_N) :
    (1 < N)%N -> poor F G -> rich S i -> decodes S w phi gam i ->
  exists c, c != 0 /\ w *m D = c *: erow i.
Proof.
move=> N_gt1 G_poor S_rich dec; pose a := w *m D.
have fib j : j != i -> a 0 j = 0 /\ a 0 i != 0.
  move=> j_neq_i; have [s0 [r [r_gt0 box]]] := S_rich j j_neq_i.
  pose g al be := gam (s0 + al *: ecol i + be *: ecol j).
  apply: (@fibre F G G_poor phi g _ _ (preact w s0) (s0 i 0) r r_gt0) => al be sal sbe.
  rewrite -preact_box dec; last exact: box.
  by rewrite !mxE !eqxx eq_sym (negPf j_neq_i) /= mulr1 mulr0 addr0.
have [j j_neq_i] : exists j : 'I_N, j != i.
  have : (0 < #|[set~ i]|)%N by rewrite cardsC1 card_ord -subn1 subn_gt0.
  by case/card_gt0P=> j; rewrite !inE => ?; exists j.
exists (a 0 i); split; first by case: (fib j j_neq_i).
apply/rowP=> k; rewrite -/a [RHS]mxE [erow i 0 k]mxE eqxx /=.
by case: eqP => [->|/eqP k_neq_i]; [rewrite mulr1 | case: (fib k k_neq_i) => ->; rewrite mulr0].
Qed.

Corollary decodable_in_row_space (G : Type) (S : 'cV[F]_N -> Prop) (i : 'I_N) :
  (1 < N)%N -> poor F G -> rich S i -> decodable G S i -> in_row_space i.
Proof.
move=> N_gt1 G_poor S_rich [w [phi [gam dec]]].
have [c [c_neq0 wD]] := exact_latent N_gt1 G_poor S_rich dec.
by apply/submxP; exists (c^-1 *: w); rewrite -scalemxAl wD scalerA mulVf // scale1r.
Qed.

(* Converse of T1.  If e_i is in the row space, a linear latent without bias is exact on all codes. *)
Theorem exact_converse (i : 'I_N) :
  in_row_space i -> exists w : 'rV[F]_M, forall s, preact w s = s i 0.
Proof.
case/submxP=> w eq_w; exists w => s.
by rewrite /preact mulmxA -eq_w /erow -rowE mxE.
Qed.

(* T1 as an equivalence. *)
Corollary decodable_iff (G : Type) (S : 'cV[F]_N -> Prop) (i : 'I_N) :
  (1 < N)%N -> poor F G -> inhabited G -> rich S i -> decodable G S i <-> in_row_space i.
Proof.
move=> N_gt1 G_poor [g0] S_rich; split; first exact: decodable_in_row_space.
by move=> /exact_converse[w dec]; exists w, (fun t _ => t), (fun=> g0) => s _; exact: dec.
Qed.

(* Counting corollary, algebraic half: at most rank D unit vectors lie in the row space. *)
Definition decodable_set : {set 'I_N} := [set i | in_row_space i].

Lemma decodable_sub : (\sum_(i in decodable_set) <<erow i>> <= D)%MS.
Proof. by apply/sumsmx_subP=> i; rewrite inE genmxE. Qed.

Lemma rank_unit_rows (E : {set 'I_N}) : \rank (\sum_(i in E) <<erow i>>)%MS = #|E|.
Proof.
have /mxdirectP /= -> : mxdirect (\sum_(i in E) <<erow i>>).
  exact: mxdirect_delta.
by rewrite -sum1_card; apply: eq_bigr => i _; rewrite mxrank_gen mxrank_delta.
Qed.

Theorem card_decodable_set : (#|decodable_set| <= \rank D)%N.
Proof. by rewrite -rank_unit_rows mxrankS // decodable_sub. Qed.

(* If D has a nontrivial kernel and no zero column, even rank D coordinates are too many. *)
Theorem card_decodable_set_lt :
  (\rank D < N)%N -> (forall j, col j D != 0) -> (#|decodable_set| < \rank D)%N.
Proof.
move=> rD_ltN D_col; rewrite ltn_neqAle card_decodable_set andbT.
apply/negP=> /eqP card_eq.
have [j jP] : exists j, j \notin decodable_set.
  apply/existsP; rewrite -negb_forall; apply/negP=> /forallP all_in.
  have : decodable_set = setT by apply/setP=> k; rewrite all_in inE.
  by move=> full; move: rD_ltN; rewrite -card_eq full cardsT card_ord ltnn.
have D_sub : (D <= \sum_(i in decodable_set) <<erow i>>)%MS.
  rewrite -(geq_leqif (mxrank_leqif_sup decodable_sub)).
  by rewrite rank_unit_rows card_eq.
have S_col0 : (\sum_(i in decodable_set) <<erow i>> <= kermx (ecol j))%MS.
  apply/sumsmx_subP=> i iP; rewrite genmxE sub_kermx mul_erow mxE eqxx /=.
  have -> : (j == i) = false by apply/negP=> /eqP ji; rewrite ji iP in jP.
  by rewrite raddf0.
have := submx_trans D_sub S_col0; rewrite sub_kermx -colE.
by rewrite (negPf (D_col j)).
Qed.

(* Counting corollary for encoders: any set E of coordinates, each decoded by a latent of its own. *)
Corollary count_decodable (G : Type) (S : 'cV[F]_N -> Prop) (E : {set 'I_N}) :
    (1 < N)%N -> poor F G -> (forall i, i \in E -> rich S i) ->
    (forall i, i \in E -> decodable G S i) ->
  (#|E| <= \rank D)%N.
Proof.
move=> N_gt1 G_poor S_rich dec; apply: leq_trans card_decodable_set.
apply/subset_leq_card/subsetP=> i iE; rewrite inE.
exact: decodable_in_row_space N_gt1 G_poor (S_rich i iE) (dec i iE).
Qed.

Corollary count_gapped (G : Type) (S : 'cV[F]_N -> Prop) (E : {set 'I_N}) :
    poor F G -> (M < N)%N -> (forall j, col j D != 0) -> (forall i, i \in E -> rich S i) ->
    (forall i, i \in E -> decodable G S i) ->
  (#|E| < M)%N.
Proof.
move=> G_poor M_ltN D_col S_rich dec.
have rD_leM := rank_leq_row D.
have rD_gt0 : (0 < \rank D)%N.
  have i0 : 'I_N by exact: Ordinal (leq_ltn_trans (leq0n M) M_ltN).
  rewrite lt0n mxrank_eq0; apply: contra (D_col i0) => /eqP->.
  by rewrite col0.
have N_gt1 : (1 < N)%N by apply: leq_ltn_trans M_ltN; apply: leq_trans rD_leM.
apply: leq_trans rD_leM; apply: leq_ltn_trans (card_decodable_set_lt _ D_col).
  apply/subset_leq_card/subsetP=> i iE; rewrite inE.
  exact: decodable_in_row_space N_gt1 G_poor (S_rich i iE) (dec i iE).
exact: leq_ltn_trans (rank_leq_row D) M_ltN.
Qed.

(* The code set of the sparse autoencoder literature: nonnegative, exactly K entries positive. *)
Definition k_sparse (K : nat) (s : 'cV[F]_N) : Prop :=
  (forall k, 0 <= s k 0) /\ #|[set k | s k 0 != 0]| = K.

Lemma k_sparse_rich K i : (1 < K <= N)%N -> rich (k_sparse K) i.
Proof.
case/andP=> K_gt1 K_leN j j_neq_i.
(* a support A of size K that contains i and j *)
have [A [ijA cardA]] : exists A : {set 'I_N}, [set i; j] \subset A /\ #|A| = K.
  have card_ij : #|[set i; j]| = 2%N by rewrite cards2 eq_sym j_neq_i.
  have : (K - 2 <= #|~: [set i; j]|)%N by rewrite cardsCs setCK card_ord card_ij leq_sub2r.
  case/card_geqP=> l [l_uniq l_size l_sub].
  exists ([set i; j] :|: [set k in l]); split; first exact: subsetUl.
  rewrite cardsU card_ij.
  have -> : [set i; j] :&: [set k in l] = set0.
    apply/setP=> k; rewrite !inE; apply/negP=> /andP[k_ij kl].
    by have := l_sub k kl; rewrite !inE k_ij.
  by rewrite cards0 subn0 cardsE (card_uniqP l_uniq) l_size subnKC.
have iA : i \in A by apply: (subsetP ijA); rewrite !inE eqxx.
have jA : j \in A by apply: (subsetP ijA); rewrite !inE eqxx orbT.
exists (\col_k (if k \in A then 1 else 0)), 1; split=> [|al be sal sbe]; first exact: ltr01.
have pos1 (t : F) : `|t| < 1 -> 0 < 1 + t.
  by rewrite ltr_norml => /andP[lo _]; rewrite -ltr_subl_addl sub0r.
pose s := \col_k (if k \in A then 1 else 0) + al *: ecol i + be *: ecol j : 'cV[F]_N.
have sE k : s k 0 = if k == i then 1 + al else if k == j then 1 + be
                    else if k \in A then 1 else 0.
  rewrite /s !mxE eqxx !andbT; case: (k =P i) => [->|_].
    by rewrite iA eq_sym (negPf j_neq_i) mulr1 mulr0 addr0.
  by case: (k =P j) => [->|_]; rewrite ?jA ?mulr1 ?mulr0 ?addr0.
have s_pos k : k \in A -> 0 < s k 0.
  by move=> kA; rewrite sE kA; case: eqP => _; [exact: pos1 | case: eqP => _; [exact: pos1 | exact: ltr01]].
have s_zero k : k \notin A -> s k 0 = 0.
  move=> kA; rewrite sE (negPf kA); case: eqP => [ki|_]; first by rewrite ki iA in kA.
  by case: eqP => [kj|//]; rewrite kj jA in kA.
rewrite -/s; split.
  by move=> k; case: (boolP (k \in A)) => kA; [exact/ltW/s_pos | rewrite s_zero].
rewrite -cardA; congr #|pred_of_set _|; apply/setP=> k; rewrite inE.
by case: (boolP (k \in A)) => kA; [rewrite lt0r_neq0 // s_pos | rewrite s_zero ?eqxx].
Qed.

(* The gated theorem.  With fewer measurements than latents and at least two active latents, no family
   of pointwise latents with poor side information (gates, TopK, BatchTopK, support oracles) is exact
   on all K-sparse nonnegative codes.                                                               *)
Theorem gated_gap (G : Type) (K : nat) (W : 'I_N -> 'rV[F]_M)
    (phi : 'I_N -> F -> G -> F) (gam : 'I_N -> 'cV[F]_N -> G) :
    poor F G -> (1 < K <= N)%N -> (M < N)%N ->
  ~ (forall i s, k_sparse K s -> phi i (preact (W i) s) (gam i s) = s i 0).
Proof.
move=> G_poor K_range M_ltN dec.
have N_gt1 : (1 < N)%N by case/andP: K_range; exact: leq_trans.
have : (#|[set: 'I_N]| <= \rank D)%N.
  apply: (@count_decodable G (k_sparse K)) => // i _; first exact: k_sparse_rich.
  by exists (W i), (phi i), (gam i) => s; exact: dec.
rewrite cardsT card_ord => N_le; have := leq_trans N_le (rank_leq_row D).
by rewrite leqNgt M_ltN.
Qed.

(* Quantitative form: at least N - M + 1 latents are wrong somewhere, if D has no zero column. *)
Theorem gated_gap_count (G : Type) (K : nat) (W : 'I_N -> 'rV[F]_M)
    (phi : 'I_N -> F -> G -> F) (gam : 'I_N -> 'cV[F]_N -> G) (E : {set 'I_N}) :
    poor F G -> (1 < K <= N)%N -> (M < N)%N -> (forall j, col j D != 0) ->
    (forall i s, i \in E -> k_sparse K s -> phi i (preact (W i) s) (gam i s) = s i 0) ->
  (N - M + 1 <= #|~: E|)%N.
Proof.
move=> G_poor K_range M_ltN D_col dec.
have E_lt : (#|E| < M)%N.
  apply: (@count_gapped G (k_sparse K)) => // i iE; first exact: k_sparse_rich.
  by exists (W i), (phi i), (gam i) => s; exact: dec.
have := cardsC E; rewrite card_ord => E_compl.
by rewrite addn1 ltn_subLR ?(ltnW M_ltN) // -{1}E_compl ltn_add2r.
Qed.

(* Boolean side information needs no hypothesis: TopK, BatchTopK, JumpReLU and Gated SAEs output either
   zero or a function of their pre-activation.                                                      *)
Corollary gate_gap (K : nat) (W : 'I_N -> 'rV[F]_M) (sigma : 'I_N -> F -> F)
    (gate : 'I_N -> 'cV[F]_N -> bool) :
    (1 < K <= N)%N -> (M < N)%N ->
  ~ (forall i s, k_sparse K s -> (if gate i s then sigma i (preact (W i) s) else 0) = s i 0).
Proof.
move=> K_range M_ltN; pose phi i t (b : bool) := if b then sigma i t else 0.
exact (@gated_gap bool K W phi gate (@poor_bool F) K_range M_ltN).
Qed.

(* No side information at all: ReLU or any other pointwise nonlinearity, biases included. *)
Corollary pointwise_gap (K : nat) (W : 'I_N -> 'rV[F]_M) (sigma : 'I_N -> F -> F) :
    (1 < K <= N)%N -> (M < N)%N ->
  ~ (forall i s, k_sparse K s -> sigma i (preact (W i) s) = s i 0).
Proof.
move=> K_range M_ltN; pose phi i t (_ : unit) := sigma i t.
exact (@gated_gap unit K W phi (fun _ _ => tt) (@poor_unit F) K_range M_ltN).
Qed.

End ExactDecoding.

(* One check for all of them. *)
Definition theorems := (@exact_latent, @exact_converse, @decodable_iff, @card_decodable_set_lt,
  @count_decodable, @count_gapped, @gated_gap, @gated_gap_count, @gate_gap, @pointwise_gap).
Print Assumptions theorems.
