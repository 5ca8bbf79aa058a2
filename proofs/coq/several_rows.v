(* T1 for latents that read several rows.  If latent i sees p linear functionals of x, combined in any way
   and helped by poor side information, and p < K, then it can be exact on the K-sparse nonnegative codes
   only if e_i is in the row space.  So an exact encoder must let every other latent read at least K
   functionals: p = 1 is the gated theorem; a hidden layer of fewer than K units is not enough either.  *)
From mathcomp Require Import all_ssreflect all_algebra.
From mathcomp Require Import ring.
From amortgap Require Import fibre exact_decoding.

Set Implicit Arguments.
Unset Strict Implicit.
Unset Printing Implicit Defensive.

Import Order.TTheory GRing.Theory Num.Theory.
Local Open Scope ring_scope.

(* A set with at most K elements lies in a set with exactly K. *)
Lemma extend_set (I : finType) (U : {set I}) K :
  (#|U| <= K <= #|I|)%N -> exists A : {set I}, U \subset A /\ #|A| = K.
Proof.
case/andP=> U_le K_le.
have : (K - #|U| <= #|~: U|)%N by rewrite leq_subLR cardsC.
case/card_geqP=> l [l_uniq l_size l_sub].
exists (U :|: [set k in l]); split; first exact: subsetUl.
rewrite cardsU.
have -> : U :&: [set k in l] = set0.
  apply/setP=> k; rewrite !inE; apply/negP=> /andP[kU kl].
  by have := l_sub k kl; rewrite !inE kU.
by rewrite cards0 subn0 cardsE (card_uniqP l_uniq) l_size subnKC.
Qed.

Section SeveralRows.
Variables (F : realFieldType) (p N : nat) (A : 'M[F]_(p, N)).

Definition support (v : 'cV[F]_N) : {set 'I_N} := [set k | v k 0 != 0].

(* Column i of A is a combination of at most p other columns, unless e_i is a combination of rows. *)
Lemma sparse_kernel (i : 'I_N) : ~~ (erow F i <= A)%MS ->
  exists v : 'cV[F]_N, [/\ A *m v = 0, v i 0 = 1 & (#|support v| <= p.+1)%N].
Proof.
move=> e_notin; pose B : 'M[F]_(N, p) := \matrix_(j, r) (if j == i then 0 else A r j).
have Ai_B : ((col i A)^T <= B)%MS.
  rewrite submxE; apply: contraNT e_notin => nz.
  have [k nz_k] : exists k, ((col i A)^T *m cokermx B) 0 k != 0.
    apply/existsP; rewrite -negb_forall; apply: contra nz => /forallP all0.
    by apply/eqP/rowP=> k; rewrite (eqP (all0 k)) mxE.
  set c := _ 0 k in nz_k; pose u : 'rV[F]_p := (col k (cokermx B))^T.
  have uA : u *m A = c *: erow F i.
    apply/rowP=> j; rewrite [RHS]mxE [erow _ _ _ _]mxE eqxx /= [LHS]mxE.
    have [->|j_neq_i] := eqVneq j i.
      by rewrite mulr1 /c mxE; apply: eq_bigr => r _; rewrite !mxE mulrC.
    rewrite mulr0; have := congr1 (fun X : 'M_(N, p) => X j k) (mulmx_coker B).
    rewrite !mxE => E; rewrite -[RHS]E; apply: eq_bigr => r _.
    by rewrite !mxE (negPf j_neq_i) mulrC.
  by apply/submxP; exists (c^-1 *: u); rewrite -scalemxAl uA scalerA mulVf // scale1r.
have := Ai_B; rewrite -(eq_maxrowsub B) => /submxP[u uE].
set f := maxrankfun B in u uE.
have f_neq_i k : f k != i.
  apply/negP=> /eqP fk; have : (delta_mx 0 k : 'rV[F]_(\rank B)) *m rowsub f B = 0 *m rowsub f B.
    by rewrite mul0mx -rowE; apply/rowP=> r; rewrite !mxE fk eqxx.
  move/(row_free_inj (maxrowsub_free B))/rowP/(_ k); rewrite !mxE !eqxx /= => /eqP.
  by rewrite oner_eq0.
pose v := ecol F i - \sum_k u 0 k *: ecol F (f k).
have vE j : j \notin i |: [set f k | k in 'I_(\rank B)] -> v j 0 = 0.
  rewrite !inE negb_or => /andP[j_neq_i jf]; rewrite !mxE eqxx (negPf j_neq_i) /= summxE.
  rewrite big1 ?subr0 // => k _; rewrite !mxE eqxx.
  have -> : (j == f k) = false by apply: contraNF jf => /eqP->; apply: imset_f.
  by rewrite mulr0.
exists v; split.
- rewrite mulmxBr mulmx_sumr; apply/eqP; rewrite subr_eq0; apply/eqP/colP=> r.
  have := congr1 (fun X : 'rV_p => X 0 r) uE; rewrite /ecol -colE !mxE => ->.
  rewrite summxE; apply: eq_bigr => k _.
  by rewrite -scalemxAr -colE !mxE (negPf (f_neq_i k)).
- rewrite !mxE !eqxx /= summxE big1 ?subr0 // => k _.
  by rewrite !mxE eqxx eq_sym (negPf (f_neq_i k)) mulr0.
apply: (@leq_trans #|i |: [set f k | k in 'I_(\rank B)]|).
  apply/subset_leq_card/subsetP=> j; rewrite inE => vj.
  by apply: contraNT vj => /vE ->.
apply: leq_trans (leq_of_leqif (leq_card_setU _ _)) _.
rewrite cards1 add1n ltnS (leq_trans (leq_imset_card _ _)) // card_ord.
exact: rank_leq_col.
Qed.

End SeveralRows.

Section Gap.
Variables (F : realFieldType) (M N : nat) (D : 'M[F]_(M, N)).

(* T1 for p < K rows. *)
Theorem exact_latent_rows (G : Type) (K p : nat) (W : 'M[F]_(p, M)) (phi : 'cV[F]_p -> G -> F)
    (gam : 'cV[F]_N -> G) (i : 'I_N) :
    poor F G -> (p < K <= N)%N ->
    (forall s, k_sparse K s -> phi (W *m (D *m s)) (gam s) = s i 0) ->
  in_row_space D i.
Proof.
move=> G_poor /andP[p_ltK K_leN] dec; apply: contraT => not_in; exfalso.
have e_notin : ~~ (erow F i <= W *m D)%MS.
  by apply: contra not_in => e_in; apply: submx_trans e_in (submxMl W D).
have [v [Av vi v_supp]] := sparse_kernel e_notin.
have [|S [vS cardS]] := @extend_set _ (support v) K.
  by rewrite card_ord K_leN andbT (leq_trans v_supp).
pose s0 : 'cV[F]_N := \col_k (if k \in S then 1 else 0).
pose q := 1 + \sum_k `|v k 0|.
have q_gt0 : 0 < q by rewrite ltr_paddr ?sumr_ge0.
have v_small k : `|v k 0| <= q.
  rewrite /q (bigD1 k) //= addrCA ler_addl addr_ge0 //.
  by apply: sumr_ge0 => j _; exact: normr_ge0.
have q_inv : 0 < q^-1 by rewrite invr_gt0.
have iS : i \in S by apply: (subsetP vS); rewrite inE vi oner_eq0.
pose g t := gam (s0 + t *: v).
apply: (@fibre_line F G G_poor (fun _ => phi (W *m (D *m s0))) g 0 1 q^-1 q_inv) => t st.
have sparse : k_sparse K (s0 + t *: v).
  have zero k : k \notin S -> (s0 + t *: v) k 0 = 0.
    move=> kS; rewrite !mxE (negPf kS) add0r.
    have /eqP -> : v k 0 == 0 by apply: contraNT kS => vk; apply: (subsetP vS); rewrite inE.
    by rewrite mulr0.
  have pos k : k \in S -> 0 < (s0 + t *: v) k 0.
    move=> kS; rewrite !mxE kS -ltr_subl_addl sub0r.
    have : `|t * v k 0| < 1.
      rewrite normrM; apply: (@le_lt_trans _ _ (`|t| * q)); first by rewrite ler_wpmul2l.
      by rewrite -ltr_pdivl_mulr // mul1r.
    by rewrite ltr_norml => /andP[].
  split=> [k|]; first by case: (boolP (k \in S)) => kS; [exact/ltW/pos | rewrite zero].
  rewrite -cardS; congr #|pred_of_set _|; apply/setP=> k; rewrite inE.
  by case: (boolP (k \in S)) => kS; [rewrite lt0r_neq0 // pos | rewrite zero ?eqxx].
have := dec _ sparse; rewrite !mulmxDr -!scalemxAr [W *m (D *m v)]mulmxA Av scaler0 addr0 -/(g t) => ->.
by rewrite !mxE iS vi mulr1.
Qed.

(* With M < N some latent must read K rows. *)
Corollary rows_gap (G : Type) (K p : nat) (W : 'I_N -> 'M[F]_(p, M)) (phi : 'I_N -> 'cV[F]_p -> G -> F)
    (gam : 'I_N -> 'cV[F]_N -> G) :
    poor F G -> (p < K <= N)%N -> (M < N)%N ->
  ~ (forall i s, k_sparse K s -> phi i (W i *m (D *m s)) (gam i s) = s i 0).
Proof.
move=> G_poor K_range M_ltN dec.
have all_in : decodable_set D = setT.
  by apply/setP=> i; rewrite !inE (exact_latent_rows G_poor K_range (dec i)).
have := leq_trans (card_decodable_set D) (rank_leq_row D).
by rewrite all_in cardsT card_ord leqNgt M_ltN.
Qed.

(* A hidden layer of p < K units, of any kind, is not enough. *)
Corollary narrow_hidden_layer (K p : nat) (W : 'M[F]_(p, M)) (readout : 'I_N -> 'cV[F]_p -> F) :
    (p < K <= N)%N -> (M < N)%N ->
  ~ (forall i s, k_sparse K s -> readout i (W *m (D *m s)) = s i 0).
Proof.
move=> K_range M_ltN dec.
exact (@rows_gap unit K p (fun=> W) (fun i h _ => readout i h) (fun _ _ => tt) (@poor_unit F)
        K_range M_ltN dec).
Qed.

End Gap.

(* One check for all of them. *)
Definition theorems := (@sparse_kernel, @exact_latent_rows, @rows_gap, @narrow_hidden_layer).
Print Assumptions theorems.
