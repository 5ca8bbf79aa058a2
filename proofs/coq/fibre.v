(* The fibre lemma: what one scalar pre-activation, helped by poor side information, cannot do.

   F is any real field (an ordered field: Q, R, real algebraic numbers, ...).  The side information
   takes its values in a type G, which is only required to be "poor": no open interval of F injects
   into it.  Every finite type is poor (finite_poor), so gates, TopK memberships and m-valued oracles
   are covered over every F; over the reals every countable type is poor too (Cantor), which is the
   countable case of T1.                                                                            *)
From mathcomp Require Import all_ssreflect all_algebra.
From mathcomp Require Import ring.

Set Implicit Arguments.
Unset Strict Implicit.
Unset Printing Implicit Defensive.

Import Order.TTheory GRing.Theory Num.Theory.
Local Open Scope ring_scope.

Section Poor.
Variable F : realFieldType.

(* No function from an open interval ]-e, e[ of F to G is injective. *)
Definition poor (G : Type) : Prop :=
  forall e : F, 0 < e -> forall g : F -> G,
  ~ (forall t t', `|t| < e -> `|t'| < e -> g t = g t' -> t = t').

(* Pigeonhole on the m + 1 points e/2, e/3, ..., e/(m + 2). *)
Lemma finite_poor (G : finType) : poor G.
Proof.
move=> e e_gt0 g g_inj.
pose p (k : 'I_#|G|.+1) : F := e / k.+2%:R.
have p_small k : `|p k| < e.
  have p_ge0 : 0 <= p k by apply: divr_ge0; [exact: ltW | exact: ler0n].
  by rewrite ger0_norm // /p ltr_pdivr_mulr ?ltr0n // ltr_pmulr // ltr1n.
have p_inj : injective (g \o p).
  move=> i j eq_g; have := g_inj _ _ (p_small i) (p_small j) eq_g.
  move=> /(mulfI (lt0r_neq0 e_gt0)) /invr_inj /eqP.
  by rewrite eqr_nat !eqSS => /eqP /val_inj.
by have := leq_card _ p_inj; rewrite card_ord ltnn.
Qed.

Lemma poor_unit : poor unit. Proof. exact: finite_poor. Qed.
Lemma poor_bool : poor bool. Proof. exact: finite_poor. Qed.

End Poor.

Section Fibre.
Variables (F : realFieldType) (G : Type).
Hypothesis G_poor : poor F G.

(* One line: if the pre-activation is constant along t |-> t u and the output follows t there,
   then the side information would be injective on an interval.                                     *)
Lemma fibre_line (phi : F -> G -> F) (gam : F -> G) (c z e : F) :
  0 < e -> (forall t, `|t| < e -> phi c (gam t) = z + t) -> False.
Proof.
move=> e_gt0 dec; apply: (G_poor e_gt0 (g := gam)) => t t' st st' eq_gam.
by apply: (addrI z); rewrite -!dec ?eq_gam.
Qed.

(* Fibre lemma.  A latent with pre-activation c + a alpha + b beta, an arbitrary nonlinearity phi and
   poor side information gam (which may depend on alpha and beta) outputs z + alpha on an open box
   of radius r.  Then b = 0 and a <> 0.                                                             *)
Lemma fibre (phi : F -> G -> F) (gam : F -> F -> G) (a b c z r : F) :
    0 < r ->
    (forall al be, `|al| < r -> `|be| < r ->
       phi (c + a * al + b * be) (gam al be) = z + al) ->
  b = 0 /\ a != 0.
Proof.
move=> r_gt0 dec.
have b0 : b = 0.
  apply/eqP; apply: contraT => b_neq0; exfalso.
  (* on be = - (a / b) al the pre-activation is constantly c *)
  pose q := `|a / b| + 1.
  have q_gt0 : 0 < q by rewrite ltr_paddl.
  have q_ge1 : 1 <= q by rewrite ler_addr.
  pose e := r / q.
  have e_gt0 : 0 < e by rewrite divr_gt0.
  have e_le_r : e <= r by rewrite ler_pdivr_mulr // ler_pmulr.
  apply: (@fibre_line phi (fun t => gam t (- (a / b) * t)) c z e) => // t st.
  have al_small : `|t| < r by exact: lt_le_trans st e_le_r.
  have -> : c = c + a * t + b * (- (a / b) * t) by field.
  apply: dec => //; rewrite normrM normrN; apply: (@le_lt_trans _ _ (q * `|t|)).
    by rewrite ler_wpmul2r // ler_addl.
  by rewrite mulrC -ltr_pdivl_mulr.
split=> //; apply/eqP => a0.
(* now the pre-activation is constantly c; move along be = 0 *)
apply: (@fibre_line phi (fun t => gam t 0) c z r) => // t st.
by rewrite -(dec t 0) ?normr0 // a0 b0 !mul0r !addr0.
Qed.

End Fibre.

(* One check for all of them. *)
Definition theorems := (@finite_poor, @fibre).
Print Assumptions theorems.
