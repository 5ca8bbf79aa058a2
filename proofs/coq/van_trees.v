(* L5 from its integrals on: van Trees' inequality along the fibres of alpha.z.

   V stands for the functions of z that are square-integrable under P, and E f g for their inner product, the
   integral of f g P: bilinear, symmetric, nonnegative on squares. score v is (d_v H) / P. What L5's page proves
   by integration enters as three hypotheses, numbered as there:
     (1) the energy of the score, with d = I_0 I_1^(n-1) on the diagonal and o = I_x^2 I_1^(n-2) off it,
     (2) the integral of z_i d_v H is - v_i,   (3) that of T(alpha.z) d_v H is zero where v is orthogonal to alpha.
   What follows from them, Cauchy-Schwarz, the largest eigenvalue and the choice of v, is checked here.      *)
From mathcomp Require Import all_ssreflect all_algebra.
From mathcomp Require Import ring.
From amortgap Require Import leverage.

Set Implicit Arguments.
Unset Strict Implicit.
Unset Printing Implicit Defensive.

Import Order.TTheory GRing.Theory Num.Theory.
Local Open Scope ring_scope.

Section InnerProduct.
Variables (F : realFieldType) (V : lmodType F) (E : V -> V -> F).
Hypothesis addE : forall f g h, E (f + g) h = E f h + E g h.
Hypothesis scaleE : forall c f g, E (c *: f) g = c * E f g.
Hypothesis symE : forall f g, E f g = E g f.
Hypothesis posE : forall f, 0 <= E f f.

Lemma expand c e f g : E (c *: f + e *: g) (c *: f + e *: g) =
  c ^+ 2 * E f f + (c * e) * E f g * 2%:R + e ^+ 2 * E g g.
Proof.
rewrite addE !scaleE [E f _]symE [E g (_ + _)]symE !addE !scaleE [E g f]symE.
by ring.
Qed.

Lemma form_cauchy_schwarz f g : E f g ^+ 2 <= E f f * E g g.
Proof.
have [gg0|gg_neq0] := eqVneq (E g g) 0; last first.
  have gg_gt0 : 0 < E g g by rewrite lt_def gg_neq0 posE.
  have := posE (E g g *: f + (- E f g) *: g).
  have -> : E (E g g *: f + (- E f g) *: g) (E g g *: f + (- E f g) *: g)
            = E g g * (E f f * E g g - E f g ^+ 2) by rewrite expand; ring.
  by rewrite pmulr_rge0 // subr_ge0.
rewrite gg0 mulr0; have [->|fg_neq0] := eqVneq (E f g) 0; first by rewrite expr0n.
have := posE (1 *: f + (- ((E f f + 1) / (E f g * 2%:R))) *: g).
rewrite expand gg0 mulr0 addr0.
have two0 : (2%:R : F) != 0 by rewrite pnatr_eq0.
have -> : 1 ^+ 2 * E f f + 1 * - ((E f f + 1) / (E f g * 2%:R)) * E f g * 2%:R = - 1.
  by rewrite mulrN !mul1r expr1n mul1r mulNr mulNr -mulrA divfK ?mulf_neq0 // opprD addrA subrr sub0r.
by rewrite oppr_ge0 ler10.
Qed.

Section VanTrees.
Variables (n : nat) (score : 'rV[F]_n -> V) (T z : V) (i : 'I_n) (alpha : 'rV[F]_n) (d o : F).
Hypothesis o_ge0 : 0 <= o.
Hypothesis c_gt0 : 0 < d + (n.-1)%:R * o.
Hypothesis energy : forall v : 'rV[F]_n,
  E (score v) (score v) = d * sqnorm v + o * ((\sum_k v 0 k) ^+ 2 - sqnorm v).
Hypothesis parts_z : forall v : 'rV[F]_n, E z (score v) = - v 0 i.
Hypothesis parts_T : forall v : 'rV[F]_n, \sum_k v 0 k * alpha 0 k = 0 -> E T (score v) = 0.

Let c := d + (n.-1)%:R * o.

Lemma energy_le v : E (score v) (score v) <= c * sqnorm v.
Proof.
rewrite energy /c mulrDl ler_add2l mulrAC mulrC ler_wpmul2l //.
have n_gt0 : (0 < n)%N by apply: leq_trans (ltn_ord i).
have := cauchy_schwarz v (const_mx 1).
rewrite (eq_bigr (fun k => v 0 k)) => [|k _]; last by rewrite mxE mulr1.
have -> : sqnorm (const_mx 1 : 'rV[F]_n) = n%:R.
  rewrite /sqnorm (eq_bigr (fun=> 1)) => [|k _]; last by rewrite mxE expr1n.
  by rewrite sumr_const card_ord.
have -> : n%:R = (n.-1)%:R + 1 :> F by rewrite -{1}(prednK n_gt0) -addn1 natrD.
by rewrite mulrDr mulr1 ler_subl_addr [_ * sqnorm v]mulrC.
Qed.

Theorem van_trees : alpha != 0 ->
  c^-1 * (1 - alpha 0 i ^+ 2 / sqnorm alpha) <= E (T - z) (T - z).
Proof.
move=> alpha0; set r := 1 - _.
have norm0 : sqnorm alpha != 0 by rewrite sqnorm_eq0.
pose v := delta_mx 0 i - (alpha 0 i / sqnorm alpha) *: alpha.
have vi k : v 0 k = (k == i)%:R - alpha 0 i / sqnorm alpha * alpha 0 k.
  by rewrite !mxE eqxx.
have pick (x : 'I_n -> F) : \sum_k (k == i)%:R * x k = x i.
  rewrite (bigD1 i) //= eqxx mul1r big1 ?addr0 // => k /negbTE ->.
  by rewrite mul0r.
have v_alpha : \sum_k v 0 k * alpha 0 k = 0.
  rewrite (eq_bigr (fun k => (k == i)%:R * alpha 0 k - alpha 0 i / sqnorm alpha * alpha 0 k ^+ 2)).
    by rewrite sumrB -mulr_sumr pick -/(sqnorm alpha) divfK // subrr.
  by move=> k _; rewrite vi mulrBl expr2 mulrA.
have v_i : v 0 i = r by rewrite vi eqxx /r expr2 mulrAC.
have v_sq : sqnorm v = r.
  rewrite -v_i /sqnorm.
  rewrite (eq_bigr (fun k => (k == i)%:R * v 0 k - alpha 0 i / sqnorm alpha * (v 0 k * alpha 0 k))).
    by rewrite sumrB -mulr_sumr pick v_alpha mulr0 subr0.
  by move=> k _; rewrite expr2 {1}vi mulrBl mulrAC -mulrA.
have [r0|r_neq0] := eqVneq r 0; first by rewrite r0 mulr0 posE.
have r_gt0 : 0 < r by rewrite lt_def r_neq0 -v_sq sqnorm_ge0.
have err : E (T - z) (score v) = r.
  by rewrite addE parts_T // add0r -scaleN1r scaleE parts_z v_i mulN1r opprK.
have bound : r ^+ 2 <= E (T - z) (T - z) * (c * r).
  rewrite -{1}err; apply: le_trans (form_cauchy_schwarz _ _) _.
  by rewrite ler_wpmul2l // -v_sq energy_le.
rewrite mulrC ler_pdivr_mulr // -(ler_pmul2r r_gt0) -mulrA.
by rewrite -expr2.
Qed.

End VanTrees.
End InnerProduct.

Definition theorems := (@form_cauchy_schwarz, @van_trees).
Print Assumptions theorems.
