(* T6, the algebra: leverage scores, and how a bound on each conditional error (lemma L5, a hypothesis
   here because it is about integrals) becomes a bound on the amortisation gap in closed form.

   P = B^T (B B^T)^-1 B, with B a basis of the row space of D, is the orthogonal projector D^+ D on that
   space; h_i = P_ii is the leverage of latent i.                                                   *)
From mathcomp Require Import all_ssreflect all_algebra.
From mathcomp Require Import ring.
From amortgap Require Import fibre exact_decoding.

Set Implicit Arguments.
Unset Strict Implicit.
Unset Printing Implicit Defensive.

Import Order.TTheory GRing.Theory Num.Theory.
Local Open Scope ring_scope.

Section SquaredNorm.
Variable F : realFieldType.

Definition sqnorm (n : nat) (a : 'rV[F]_n) : F := \sum_j a 0 j ^+ 2.

Lemma sqnormE n (a : 'rV[F]_n) : sqnorm a = (a *m a^T) 0 0.
Proof. by rewrite mxE; apply: eq_bigr => j _; rewrite mxE expr2. Qed.

Lemma sqnorm_ge0 n (a : 'rV[F]_n) : 0 <= sqnorm a.
Proof. by apply: sumr_ge0 => j _; exact: sqr_ge0. Qed.

Lemma sqnorm_eq0 n (a : 'rV[F]_n) : (sqnorm a == 0) = (a == 0).
Proof.
apply/idP/eqP => [|->]; last by rewrite /sqnorm big1 // => j _; rewrite mxE expr0n.
rewrite psumr_eq0 => [/allP a0|j _]; last exact: sqr_ge0.
apply/rowP=> j; rewrite mxE; apply/eqP.
by have /= := a0 j (mem_index_enum j); rewrite sqrf_eq0.
Qed.

Lemma cauchy_schwarz n (a b : 'rV[F]_n) :
  (\sum_j a 0 j * b 0 j) ^+ 2 <= sqnorm a * sqnorm b.
Proof.
set ab := \sum_j _; have [b0|b_neq0] := eqVneq b 0.
  rewrite /ab b0 big1 ?expr0n ?mulr_ge0 ?sqnorm_ge0 // => j _.
  by rewrite mxE mulr0.
have b_gt0 : 0 < sqnorm b by rewrite lt_def sqnorm_eq0 b_neq0 sqnorm_ge0.
have : 0 <= \sum_j (sqnorm b * a 0 j - ab * b 0 j) ^+ 2 by apply: sumr_ge0 => j _; exact: sqr_ge0.
have -> : \sum_j (sqnorm b * a 0 j - ab * b 0 j) ^+ 2 =
          sqnorm b * (sqnorm a * sqnorm b - ab ^+ 2).
  rewrite (eq_bigr (fun j => sqnorm b ^+ 2 * a 0 j ^+ 2 - (sqnorm b * ab * 2%:R) * (a 0 j * b 0 j)
                             + ab ^+ 2 * b 0 j ^+ 2)); last by move=> j _; ring.
  by rewrite big_split /= sumrB -!mulr_sumr -/ab -!/(sqnorm _); ring.
by rewrite pmulr_rge0 // subr_ge0.
Qed.

End SquaredNorm.

Section Leverage.
Variables (F : realFieldType) (M N : nat) (D : 'M[F]_(M, N)).

Let B := row_base D.
Definition gram : 'M[F]_(\rank D) := B *m B^T.
Definition proj : 'M[F]_N := B^T *m invmx gram *m B.
Definition leverage (i : 'I_N) : F := proj i i.

Lemma gram_unit : gram \in unitmx.
Proof.
rewrite -row_free_unit; apply: inj_row_free => v v_gram.
have : sqnorm (v *m B) == 0.
  have -> : sqnorm (v *m B) = ((v *m gram) *m v^T) 0 0 by rewrite sqnormE trmx_mul /gram !mulmxA.
  by rewrite v_gram mul0mx mxE.
rewrite sqnorm_eq0 => /eqP vB0; apply: (row_free_inj (row_base_free D)).
by rewrite vB0 mul0mx.
Qed.

Lemma proj_tr : proj^T = proj.
Proof.
have gram_tr : gram^T = gram by rewrite /gram trmx_mul trmxK.
by rewrite /proj (trmx_mul _ B) (trmx_mul B^T) trmxK trmx_inv gram_tr mulmxA.
Qed.

Lemma projK (a : 'rV[F]_N) : (a <= D)%MS -> a *m proj = a.
Proof.
rewrite -(eq_row_base D) => /submxP[u ->].
rewrite -/B; have -> : u *m B *m proj = u *m gram *m invmx gram *m B by rewrite /proj /gram !mulmxA.
by rewrite mulmxK ?gram_unit.
Qed.

Lemma proj_sub : (proj <= D)%MS.
Proof. by rewrite -(eq_row_base D) submxMl. Qed.

Lemma proj_idem : proj *m proj = proj.
Proof. by apply/row_matrixP=> i; rewrite row_mul projK // (submx_trans (row_sub i proj)) ?proj_sub. Qed.

(* The leverages sum to the rank. *)
Theorem sum_leverage : \sum_i leverage i = (\rank D)%:R.
Proof.
rewrite -[LHS]/(\tr proj) /proj -mulmxA mxtrace_mulC -mulmxA -/gram.
by rewrite mulVmx ?gram_unit // mxtrace1.
Qed.

Lemma leverage_sqnorm i : leverage i = sqnorm (row i proj).
Proof.
rewrite /leverage -{1}proj_idem mxE; apply: eq_bigr => j _.
by rewrite -{2}proj_tr !mxE expr2.
Qed.

(* What one row of the encoder can hold of latent i: a_i^2 <= h_i |a|^2 for a in the row space. *)
Theorem leverage_bound (a : 'rV[F]_N) i : (a <= D)%MS -> a 0 i ^+ 2 <= leverage i * sqnorm a.
Proof.
move=> aD; have -> : a 0 i = \sum_j a 0 j * (row i proj) 0 j.
  by rewrite -{1}(projK aD) mxE; apply: eq_bigr => j _; rewrite -{1}proj_tr !mxE.
by rewrite leverage_sqnorm mulrC; exact: cauchy_schwarz.
Qed.

Lemma leverage_ge0 i : 0 <= leverage i.
Proof. by rewrite leverage_sqnorm sqnorm_ge0. Qed.

Lemma leverage_dist i : sqnorm (row i proj - erow F i) = 1 - leverage i.
Proof.
rewrite /sqnorm (eq_bigr (fun j => (row i proj) 0 j ^+ 2 +
    (j == i)%:R * (1 - proj i j *+ 2))); last first.
  by move=> j _; rewrite !mxE eqxx /=; case: eqP => [->|_] /=; ring.
rewrite big_split /= -[\sum_j _ ^+ 2]/(sqnorm _) -leverage_sqnorm.
rewrite (bigD1 i) //= eqxx mul1r big1 ?addr0 => [|j /negPf->]; last by rewrite mul0r.
by rewrite /leverage; ring.
Qed.

Lemma leverage_le1 i : leverage i <= 1.
Proof. by rewrite -subr_ge0 -leverage_dist sqnorm_ge0. Qed.

(* e_i is in the row space if and only if h_i = 1: the two forms of T1's conclusion agree. *)
Theorem leverage_eq1 i : (leverage i == 1) = in_row_space D i.
Proof.
rewrite eq_sym -subr_eq0 -leverage_dist sqnorm_eq0 subr_eq0; apply/eqP/idP => [row_i|e_i].
  by rewrite /in_row_space -row_i (submx_trans (row_sub i proj)) ?proj_sub.
by rewrite -[RHS](projK e_i) /erow -rowE.
Qed.

End Leverage.

(* Counting subsets: those of size #|U| + m between U and A. *)
Section Draws.
Variable I : finType.
Implicit Types A B S T U : {set I}.

Lemma card_between U A m :
    U \subset A ->
  #|[set B : {set I} | [&& U \subset B, B \subset A & #|B| == #|U| + m]]|%N = 'C(#|A| - #|U|, m).
Proof.
move=> UA.
have -> : [set B : {set I} | [&& U \subset B, B \subset A & #|B| == #|U| + m]]%N =
          [set U :|: C | C in [set C : {set I} | C \subset A :\: U & #|C| == m]].
  apply/setP=> B; rewrite !inE; apply/and3P/imsetP => [[UB BA /eqP cardB]|[C]].
    exists (B :\: U); last by rewrite -[LHS](setID B U) (setIidPr UB).
    rewrite inE setSD //= cardsD (setIidPr UB) cardB addKn //.
  rewrite inE subsetD => /andP[/andP[CA CU] /eqP cardC] ->; split.
  - exact: subsetUl.
  - by rewrite subUset UA.
  - by rewrite cardsU setIC (eqP (_ : C :&: U == set0)) ?setI_eq0 // cards0 subn0 cardC.
rewrite card_in_imset => [|C C']; last first.
  rewrite !inE !subsetD => /andP[/andP[_ CU] _] /andP[/andP[_ CU'] _] eqU.
  have strip (E : {set I}) : [disjoint E & U] -> (U :|: E) :\: U = E.
    by move=> EU; rewrite setDUl setDv set0U; apply/setDidPl.
  by rewrite -(strip C CU) eqU strip.
by rewrite cards_draws cardsD (setIidPr UA).
Qed.

Variable F : realFieldType.

(* Sum over the p-subsets of A of a sum over their elements. *)
Lemma sum_draws A p (f : I -> F) :
  \sum_(T : {set I} | (T \subset A) && (#|T| == p.+1)) \sum_(j in T) f j =
  'C(#|A|.-1, p)%:R * \sum_(j in A) f j.
Proof.
rewrite (exchange_big_dep (mem A)) /= => [|T j /andP[/subsetP TA _] /TA //].
rewrite mulr_sumr; apply: eq_bigr => j jA.
rewrite sumr_const mulr_natl; congr (_ *+ _).
have sub_jA : [set j] \subset A by rewrite sub1set.
rewrite -subn1 -{1}(cards1 j) -(card_between p sub_jA); apply: eq_card => T.
by rewrite [LHS]unfold_in [RHS]inE sub1set cards1 add1n [RHS]andbC.
Qed.

(* Sum over the K-subsets S of I of a sum over ordered pairs of distinct elements of S. *)
Lemma sum_pairs k (f : I -> I -> F) :
  \sum_(S : {set I} | #|S| == k.+2) \sum_(i in S) \sum_(j in S :\ i) f i j =
  'C(#|I| - 2, k)%:R * \sum_i \sum_(j | j != i) f i j.
Proof.
rewrite (exchange_big_dep predT) //= mulr_sumr; apply: eq_bigr => i _.
rewrite (exchange_big_dep (fun j => j != i)) /= => [|S j _]; last by rewrite !inE => /andP[].
rewrite mulr_sumr; apply: eq_bigr => j j_neq_i.
rewrite sumr_const mulr_natl; congr (_ *+ _).
have card_ij : #|[set i; j]| = 2%N by rewrite cards2 eq_sym j_neq_i.
have := card_between k (subsetT [set i; j]).
rewrite card_ij cardsT => <-; apply: eq_card => S.
rewrite [LHS]unfold_in [RHS]inE subUset !sub1set subsetT add2n /=.
by rewrite in_setD1 j_neq_i /= [RHS]andbC andbA.
Qed.

End Draws.

Section Reduction.
Variables (F : realFieldType) (M N : nat) (D : 'M[F]_(M, N)).

(* K latents are active, uniformly; p = n - 1 companions; W i is the row of encoder latent i;
   err i S is the mean squared error of latent i given the support S.                              *)
Variables (k p : nat) (c : F) (W : 'I_N -> 'rV[F]_M) (err : 'I_N -> {set 'I_N} -> F).
Let K := k.+2.
Let a i : 'rV[F]_N := W i *m D.

(* Average of the squared error over supports: latents outside S may only add to it. *)
Definition mean_error : F :=
  ('C(N, K)%:R)^-1 * \sum_(S : {set 'I_N} | #|S| == K) \sum_(i in S) err i S.

Hypothesis K_leN : (K <= N)%N.
Hypothesis p_range : (p < k.+1)%N.       (* n = p + 2 <= K *)
Hypothesis c_ge0 : 0 <= c.

(* Conclusion of L5 with n = p + 2 unknown amplitudes: latent i and its companions T.  (x / 0 = 0 in
   MathComp: a latent that sees none of them has error at least c.)                                *)
Hypothesis L5 : forall i (S T : {set 'I_N}),
    #|S| = K -> i \in S -> T \subset S :\ i -> #|T| = p.+1 ->
  c * (1 - a i 0 i ^+ 2 / (a i 0 i ^+ 2 + \sum_(j in T) a i 0 j ^+ 2)) <= err i S.

Let N_gt0 : (0 < N)%N := leq_trans (ltn0Sn k.+1) K_leN.

(* Share of the row's energy that goes to latent j; spread evenly if the row is dead. *)
Let share i j : F := if a i == 0 then N.-1%:R^-1 else a i 0 j ^+ 2 / sqnorm (a i).

Lemma companions_bound i (T : {set 'I_N}) : i \notin T ->
  \sum_(j in T) share i j <= 1 - a i 0 i ^+ 2 / (a i 0 i ^+ 2 + \sum_(j in T) a i 0 j ^+ 2).
Proof.
move=> iT; rewrite /share; case: eqP => [a0|_].
  have -> : \sum_(j in T) a i 0 j ^+ 2 = 0 by rewrite big1 // => j _; rewrite a0 mxE expr0n.
  rewrite a0 mxE expr0n /= mul0r subr0 sumr_const -[X in X <= _]mulr_natl.
  have N1_gt0 : (0 < N.-1)%N by rewrite -ltnS (prednK N_gt0) (leq_trans _ K_leN).
  rewrite ler_pdivr_mulr ?ltr0n // mul1r ler_nat -ltnS (prednK N_gt0).
  rewrite -[X in (_ < X)%N](card_ord N) -cardsT; apply: proper_card.
  by apply/properP; split; [exact: subsetT | exists i].
rewrite -mulr_suml; set x := a i 0 i ^+ 2; set y := \sum_(j in T) _.
have x_ge0 : 0 <= x by exact: sqr_ge0.
have y_ge0 : 0 <= y by apply: sumr_ge0 => j _; exact: sqr_ge0.
have xy_le : x + y <= sqnorm (a i).
  rewrite /sqnorm (bigD1 i) //= ler_add2l (bigID (mem T)) /=.
  rewrite (eq_bigl (mem T)) => [|j]; last first.
    by rewrite /= andbC; case: (boolP (j \in T)) => //= jT; apply: contraNneq iT => <-.
  by rewrite ler_addl; apply: sumr_ge0 => j _; exact: sqr_ge0.
have [xy0|xy_neq0] := eqVneq (x + y) 0.
  have y0 : y = 0.
    by apply/eqP; move/eqP: xy0; rewrite paddr_eq0 // => /andP[].
  by rewrite xy0 y0 invr0 mul0r mulr0 subr0 ler01.
have xy_gt0 : 0 < x + y by rewrite lt_def xy_neq0 addr_ge0.
have -> : 1 - x / (x + y) = y / (x + y) by field.
by rewrite ler_wpmul2l // lef_pinv // posrE (lt_le_trans xy_gt0).
Qed.

(* Averaging over the companions. *)
Lemma err_lower (i : 'I_N) (S : {set 'I_N}) : #|S| = K -> i \in S ->
  c * (p.+1%:R / k.+1%:R) * (\sum_(j in S :\ i) share i j) <= err i S.
Proof.
move=> cardS iS; have cardSi : #|S :\ i| = k.+1 by have := cardsD1 i S; rewrite cardS iS => -[].
pose P (T : {set 'I_N}) := (T \subset S :\ i) && (#|T| == p.+1).
have cardP : #|P| = 'C(k.+1, p.+1).
  by rewrite -cardSi -cards_draws; apply: eq_card => T; rewrite inE.
have Cp_gt0 : 0 < 'C(k.+1, p.+1)%:R :> F by rewrite ltr0n bin_gt0.
have : \sum_(T | P T) (c * (\sum_(j in T) share i j)) <= \sum_(T | P T) err i S.
  apply: ler_sum => T /andP[TS /eqP cardT]; apply: le_trans (L5 cardS iS TS cardT).
  rewrite ler_wpmul2l // companions_bound //.
  by apply/negP=> /(subsetP TS); rewrite !inE eqxx.
rewrite -mulr_sumr sum_draws cardSi /= sumr_const cardP -[X in _ <= X]mulr_natl.
have bin_eq : k.+1%:R * 'C(k, p)%:R = p.+1%:R * 'C(k.+1, p.+1)%:R :> F.
  by rewrite -!natrM (mul_bin_diag k.+1).
rewrite -ler_pdivr_mull //; apply: le_trans; rewrite le_eqVlt; apply/orP; left; apply/eqP.
have -> : 'C(k, p)%:R = p.+1%:R * 'C(k.+1, p.+1)%:R / k.+1%:R :> F.
  by rewrite -bin_eq mulrC mulKf // pnatr_eq0.
have : k.+1%:R != 0 :> F by rewrite pnatr_eq0.
move: (lt0r_neq0 Cp_gt0); move: 'C(k.+1, p.+1)%:R k.+1%:R => u v u_neq0 v_neq0.
by field; rewrite u_neq0 v_neq0.
Qed.

(* Energy that the row of latent i spends on other latents: a share of at least 1 - h_i. *)
Lemma share_others i : 1 - leverage D i <= \sum_(j | j != i) share i j.
Proof.
rewrite /share; case: eqP => [_|/eqP a_neq0].
  rewrite sumr_const cardC1 card_ord -[X in _ <= X]mulr_natl mulfV.
    by rewrite ler_subl_addr ler_addl leverage_ge0.
  by rewrite pnatr_eq0 -lt0n -ltnS (prednK N_gt0) (leq_trans _ K_leN).
have norm_gt0 : 0 < sqnorm (a i) by rewrite lt_def sqnorm_eq0 a_neq0 sqnorm_ge0.
rewrite -mulr_suml ler_pdivl_mulr // mulrBl mul1r ler_subl_addr {1}/sqnorm (bigD1 i) //= addrC.
by rewrite ler_add2l leverage_bound // submxMl.
Qed.

(* T6: the gap in closed form. *)
Theorem gap_lower_bound :
  p.+1%:R * c * K%:R / (N%:R * N.-1%:R) * (N%:R - (\rank D)%:R) <= mean_error.
Proof.
have N_gt1 : (1 < N)%N by exact: leq_trans K_leN.
have N1_gt0 : (0 < N.-1)%N by rewrite -ltnS prednK.
have C_gt0 : 0 < 'C(N, K)%:R :> F by rewrite ltr0n bin_gt0.
pose d := c * (p.+1%:R / k.+1%:R).
have d_ge0 : 0 <= d by rewrite mulr_ge0 // divr_ge0 ?ler0n.
rewrite /mean_error [X in _ <= X]mulrC ler_pdivl_mulr //.
apply: (@le_trans _ _ (\sum_(S : {set 'I_N} | #|S| == K) \sum_(i in S)
                         (d * (\sum_(j in S :\ i) share i j)))); last first.
  by apply: ler_sum => S /eqP cardS; apply: ler_sum => i iS; exact: err_lower.
under eq_bigr do rewrite -mulr_sumr.
rewrite -mulr_sumr sum_pairs card_ord.
have rank_sum : N%:R - (\rank D)%:R <= \sum_i \sum_(j | j != i) share i j.
  have -> : N%:R - (\rank D)%:R = \sum_i (1 - leverage D i).
    by rewrite sumrB sum_leverage sumr_const card_ord.
  by apply: ler_sum => i _; exact: share_others.
apply: (@le_trans _ _ (d * ('C(N - 2, k)%:R * (N%:R - (\rank D)%:R)))); last first.
  by rewrite !ler_wpmul2l ?ler0n.
have bin_eq : N%:R * N.-1%:R * 'C(N - 2, k)%:R = K%:R * k.+1%:R * 'C(N, K)%:R :> F.
  by rewrite subn2 -!natrM -mulnA mul_bin_diag mulnCA mul_bin_diag mulnA [(k.+1 * _)%N]mulnC.
have -> : 'C(N - 2, k)%:R = K%:R * k.+1%:R * 'C(N, K)%:R / (N%:R * N.-1%:R) :> F.
  by rewrite -bin_eq mulrC mulKf // mulf_neq0 // pnatr_eq0 -lt0n.
rewrite le_eqVlt; apply/orP; left; apply/eqP; rewrite /d.
have : k.+1%:R != 0 :> F by rewrite pnatr_eq0.
have : N%:R != 0 :> F by rewrite pnatr_eq0 -lt0n.
have : N.-1%:R != 0 :> F by rewrite pnatr_eq0 -lt0n.
move: k.+1%:R N.-1%:R => u v v_neq0 N_neq0 u_neq0.
by field; rewrite u_neq0 v_neq0 N_neq0.
Qed.

End Reduction.

(* One check for all of them. *)
Definition theorems := (@sum_leverage, @leverage_bound, @leverage_eq1, @gap_lower_bound).
Print Assumptions theorems.
