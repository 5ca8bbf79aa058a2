(* Where the gap closes although M < N.

   1. Richness is needed (T1).  If the sum of the code is known, as it is for binary codes with exactly
      K ones, N = M + 1 measurements can be decoded exactly by a ReLU layer.
   2. One hidden layer can be enough (T3b): N = 4, M = 3, K = 2.                                     *)
From mathcomp Require Import all_ssreflect all_algebra.
From mathcomp Require Import ring.
From amortgap Require Import fibre exact_decoding one_active.

Set Implicit Arguments.
Unset Strict Implicit.
Unset Printing Implicit Defensive.

Import Order.TTheory GRing.Theory Num.Theory.
Local Open Scope ring_scope.

Section FixedSum.
Variables (F : realFieldType) (M N : nat) (D : 'M[F]_(M, N)).

(* Codes with a known sum: nonnegative, adding up to q.  Not rich: two coordinates cannot move freely. *)
Definition fixed_sum (q : F) (s : 'cV[F]_N) : Prop := (forall k, 0 <= s k 0) /\ \sum_k s k 0 = q.

(* Exactly K ones. *)
Definition binary (K : nat) (s : 'cV[F]_N) : Prop :=
  (forall k, s k 0 = 0 \/ s k 0 = 1) /\ #|[set k | s k 0 != 0]| = K.

Lemma binary_fixed_sum K s : binary K s -> fixed_sum K%:R s.
Proof.
case=> s01 suppK; split=> [k|]; first by case: (s01 k) => ->; rewrite ?ler01.
rewrite -suppK -sum1_card natr_sum [RHS]big_mkcond /=; apply: eq_bigr => k _.
by rewrite inE; case: (s01 k) => ->; rewrite ?eqxx // oner_eq0.
Qed.

Lemma binary_k_sparse K s : binary K s -> k_sparse K s.
Proof. by case=> s01 suppK; split=> // k; case: (s01 k) => ->; rewrite ?ler01. Qed.

(* If e_i - (1/N) (1, ..., 1) is in the row space, as for a simplex frame, latent i is exact. *)
Theorem fixed_sum_exact (q : F) (i : 'I_N) :
    (erow F i - N%:R^-1 *: const_mx 1 <= D)%MS ->
  exists w, forall s, fixed_sum q s -> relu (preact D w s + q / N%:R) = s i 0.
Proof.
case/submxP=> w wE; exists w => s [s_ge0 s_sum]; rewrite /preact mulmxA -wE mulmxBl -rowE.
rewrite [X in X + _]mxE [X in X + _ + _]mxE [X in _ + X + _]mxE -scalemxAl [X in _ - X]mxE.
have -> : ((const_mx 1 : 'rV[F]_N) *m s) 0 0 = q.
  by rewrite -s_sum mxE; apply: eq_bigr => k _; rewrite mxE mul1r.
by rewrite [q / _]mulrC subrK /relu max_l.
Qed.

End FixedSum.

Section Simplex.
Variables (F : realFieldType) (M : nat).

(* M measurements of M + 1 latents whose row space is the orthogonal complement of (1, ..., 1): columns
   e_1, ..., e_M, -(e_1 + ... + e_M), a simplex up to a change of basis of the measurements.         *)
Definition simplex : 'M[F]_(M, M + 1) := row_mx 1%:M (const_mx (-1)).

Lemma simplex_row_space i : (erow F i - (M + 1)%:R^-1 *: const_mx 1 <= simplex)%MS.
Proof.
set b := erow F i - _; apply/submxP; exists (lsubmx b).
rewrite /simplex mul_mx_row mulmx1 -[LHS]hsubmxK; congr row_mx.
have b_sum : \sum_k b 0 k = 0.
  rewrite (eq_bigr (fun k => (k == i)%:R - (M + 1)%:R^-1)) => [|k _]; last first.
    by rewrite !mxE eqxx mulr1.
  rewrite sumrB sumr_const card_ord (bigD1 i) //= eqxx big1 ?addr0 => [|k /negPf->//].
  by rewrite -[X in _ - X]mulr_natl mulfV ?subrr // pnatr_eq0 addn1.
apply/rowP=> k; rewrite [RHS]mxE (eq_bigr (fun j => - lsubmx b 0 j)) => [|j _]; last first.
  by rewrite [const_mx _ _ _]mxE mulrN1.
move: b_sum; rewrite big_split_ord /= big_ord1 [k]ord1 sumrN => /eqP; rewrite addr_eq0 => /eqP.
move=> b_sum; rewrite (eq_bigr (fun j => b 0 (lshift 1 j))) => [|j _]; last by rewrite mxE.
by rewrite b_sum opprK mxE.
Qed.

(* T1 without richness is false: a ReLU layer reads every binary K-sparse code of M + 1 latents from M
   measurements, for every K.                                                                       *)
Theorem binary_counterexample K (i : 'I_(M + 1)) :
  exists w b, forall s, binary K s -> relu (preact simplex w s + b) = s i 0.
Proof.
have [w dec] := fixed_sum_exact K%:R (simplex_row_space i).
by exists w, (K%:R / (M + 1)%:R) => s /binary_fixed_sum; exact: dec.
Qed.

End Simplex.

Section HiddenLayer.
Variable F : realFieldType.

(* T3b.  Every absolute value below is of a combination of s with coefficients that add up to zero, so
   it can be computed from the M = 3 measurements of a simplex of N = 4 latents.                     *)
Definition pairwise (a b c d : F) : F :=
  2%:R / 3%:R * (`|a - b| + `|a - c| + `|a - d| + `|b - c| + `|b - d| + `|c - d|)
  - 1 / 3%:R * (`|a + b - c - d| + `|a + c - b - d| + `|a + d - b - c|).

(* On every 2-sparse nonnegative code it is the sum of the code; with it each s_i is linear in x. *)
Theorem pairwise_sum (s : 'I_4 -> F) :
    (forall k, 0 <= s k) -> (#|[set k | s k != 0%R]| <= 2)%N ->
  pairwise (s 0) (s 1) (s 2%:R) (s 3%:R) = \sum_k s k.
Proof.
move=> s_ge0 supp2.
have E0 : ord0 = 0 :> 'I_4 by exact/val_inj.
have E1 : lift ord0 ord0 = 1 :> 'I_4 by exact/val_inj.
have E2 : lift ord0 (lift ord0 ord0) = 2%:R :> 'I_4 by exact/val_inj.
have E3 : lift ord0 (lift ord0 (lift ord0 ord0)) = 3%:R :> 'I_4 by exact/val_inj.
have {supp2} : ((s 0 != 0)%R + (s 1 != 0)%R + (s 2%:R != 0)%R + (s 3%:R != 0)%R <= 2)%N.
  move: supp2; rewrite -sum1_card big_mkcond /= !big_ord_recl big_ord0 !inE E3 E2 E1 ?E0.
  by do 4!case: (_ != _).
rewrite !big_ord_recl big_ord0 addr0 E3 E2 E1 ?E0.
have face (x y : F) : 0 <= x -> 0 <= y ->
    [/\ pairwise x y 0 0 = x + y, pairwise x 0 y 0 = x + y & pairwise x 0 0 y = x + y] /\
    [/\ pairwise 0 x y 0 = x + y, pairwise 0 x 0 y = x + y & pairwise 0 0 x y = x + y].
  move=> x_ge0 y_ge0; rewrite /pairwise !(subr0, add0r, addr0, sub0r) -!opprD !normrN !normr0.
  rewrite (distrC y x) (ger0_norm x_ge0) (ger0_norm y_ge0) (ger0_norm (addr_ge0 x_ge0 y_ge0)).
  by move: `|x - y| => z; split; split; field.
move: (s_ge0 0) (s_ge0 1) (s_ge0 2%:R) (s_ge0 3%:R); move: (s 0) (s 1) (s 2%:R) (s 3%:R) => a b c d.
have [->|_] := eqVneq a 0; have [->|_] := eqVneq b 0; have [->|_] := eqVneq c 0;
  have [->|_] := eqVneq d 0 => // a_ge0 b_ge0 c_ge0 d_ge0 _; rewrite ?add0r ?addr0.
- by have [[e1 e2 e3] [e4 e5 e6]] := face _ _ a_ge0 b_ge0; rewrite ?e1 ?e2 ?e3 ?e4 ?e5 ?e6 ?add0r ?addr0.
- by have [[e1 e2 e3] [e4 e5 e6]] := face _ _ c_ge0 d_ge0; rewrite ?e1 ?e2 ?e3 ?e4 ?e5 ?e6 ?add0r ?addr0.
- by have [[e1 e2 e3] [e4 e5 e6]] := face _ _ c_ge0 d_ge0; rewrite ?e1 ?e2 ?e3 ?e4 ?e5 ?e6 ?add0r ?addr0.
- by have [[e1 e2 e3] [e4 e5 e6]] := face _ _ c_ge0 d_ge0; rewrite ?e1 ?e2 ?e3 ?e4 ?e5 ?e6 ?add0r ?addr0.
- by have [[e1 e2 e3] [e4 e5 e6]] := face _ _ b_ge0 c_ge0; rewrite ?e1 ?e2 ?e3 ?e4 ?e5 ?e6 ?add0r ?addr0.
- by have [[e1 e2 e3] [e4 e5 e6]] := face _ _ b_ge0 d_ge0; rewrite ?e1 ?e2 ?e3 ?e4 ?e5 ?e6 ?add0r ?addr0.
- by have [[e1 e2 e3] [e4 e5 e6]] := face _ _ b_ge0 c_ge0; rewrite ?e1 ?e2 ?e3 ?e4 ?e5 ?e6 ?add0r ?addr0.
- by have [[e1 e2 e3] [e4 e5 e6]] := face _ _ a_ge0 b_ge0; rewrite ?e1 ?e2 ?e3 ?e4 ?e5 ?e6 ?add0r ?addr0.
- by have [[e1 e2 e3] [e4 e5 e6]] := face _ _ a_ge0 d_ge0; rewrite ?e1 ?e2 ?e3 ?e4 ?e5 ?e6 ?add0r ?addr0.
- by have [[e1 e2 e3] [e4 e5 e6]] := face _ _ a_ge0 c_ge0; rewrite ?e1 ?e2 ?e3 ?e4 ?e5 ?e6 ?add0r ?addr0.
- by have [[e1 e2 e3] [e4 e5 e6]] := face _ _ a_ge0 b_ge0; rewrite ?e1 ?e2 ?e3 ?e4 ?e5 ?e6 ?add0r ?addr0.
Qed.

End HiddenLayer.

(* One check for all of them. *)
Definition theorems := (@fixed_sum_exact, @binary_counterexample, @pairwise_sum).
Print Assumptions theorems.
