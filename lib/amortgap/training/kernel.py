"""The kernel of training: forward, hand-written gradients and Adam of one small encoder, many steps a call.

    M, N, H       width of x, number of latents, hidden units (0: no hidden layer)
    Q             what W2 reads: H, or M where there is no hidden layer
    n, k          samples of a batch, and of the block in hand
    X, C          (M, k), (N, k): a block of samples and of the true codes, samples last
    h, u, s       (H, k), (Q, k), (N, k): hidden activations, what W2 reads, codes
    r             (M, k): the gradient with respect to the reconstruction, 2 (D s - X) / (n M)
    g, back       (N, k), (H, k): the gradients with respect to s and h, then to what stands before their relu
    gW1 ... gD    gradients of the weights

Without codes the loss is  mean (x - D s)^2 + lambda mean |s|.  With codes it is minus the mean over latents of the
cosine between s_i and c_i over the batch, and D rests.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from amortgap._kernels.blocks import BLOCK
from amortgap._kernels.jit import ONE, ZERO, fused, inlined, jit
from amortgap._kernels.largest import keep_largest
from amortgap._kernels.products import Learned, adam, add_cross, normalise, product

TINY = np.float32(1e-8)  # the least length of a vector in torch's cosine


class Form(NamedTuple):
    """What kind of encoder it is."""

    M: int
    N: int
    H: int
    bias: bool
    relu: bool  # after W2
    learned: bool  # D is
    keep: int  # of each code the `keep` largest entries stay (with relu); 0: all


class Samples(NamedTuple):
    """One batch for all steps, or one for each step, one after the other."""

    x: Any  # (n M) each, as `blocks` lays them out
    codes: Any  # (n N) each, or empty
    n: int


class Layers(NamedTuple):
    """Views of one vector of weights, or of their gradients."""

    W1: Any  # (H, M)
    b1: Any  # (H,)
    W2: Any  # (N, Q)
    b2: Any  # (N,)
    D: Any  # (M, N)


class Workspace(NamedTuple):
    """Scratch memory. `hidden` and `found` hold a block, or the whole batch where codes are given."""

    hidden: Any  # h
    found: Any  # s
    g: Any
    back: Any
    r: Any
    W2T: Any  # (Q, N)
    DT: Any  # (N, M)
    top: Any  # of keep_largest
    spare: Any


class Cosines(NamedTuple):
    """Sums over the batch, (N,) each: s_i . c_i,  s_i . s_i  and  ||c_i||."""

    dots: Any
    squares: Any
    norms: Any


@jit
def train_encoder(
    weights: Learned, samples: Samples, form: Form, l1_weight: float, rates: Any, first: int
) -> None:
    """len(rates) steps of Adam on one encoder, in place; rates: of each step, first: steps made before.

    weights: W1, b1, W2, b2, D in one vector (see Layers).
    """
    n, batches = samples.n, len(samples.x) // (samples.n * form.M)
    supervised = len(samples.codes) > 0
    grad = np.zeros_like(weights.values)
    layers, grads = _views(weights.values, form), _views(grad, form)
    work = _workspace(n, form, supervised)
    N = form.N
    sums = Cosines(np.zeros(N, np.float32), np.zeros(N, np.float32), np.zeros(N, np.float32))
    # supervised training leaves D alone, which stands last
    moves_D = form.learned and not supervised
    count = len(grad) if moves_D else len(grad) - form.M * N
    for number in range(len(rates)):
        batch = number % batches * n
        grad[:] = ZERO
        work.W2T[:], work.DT[:] = layers.W2.T, layers.D.T
        if supervised:
            if number == 0 or batches > 1:
                _norms(samples, batch, N, sums.norms)
            _supervised_gradient(layers, grads, samples, batch, form, work, sums)
        else:
            _reconstruction_gradient(layers, grads, samples, batch, form, work, l1_weight)
        adam(weights.values[:count], grad, weights.m, weights.v, rates[number], first + number + 1)
        if moves_D:
            normalise(layers.D)


@inlined
def _views(theta: Any, form: Form) -> Layers:
    M, N, H = form.M, form.N, form.H
    Q = H if H else M
    a, b, c, d = H * M, H * M + H, H * M + H + N * Q, H * M + H + N * Q + N
    return Layers(
        theta[:a].reshape(H, M), theta[a:b], theta[b:c].reshape(N, Q), theta[c:d], theta[d:].reshape(M, N)
    )


@inlined
def _workspace(n: int, form: Form, supervised: bool) -> Workspace:
    M, N, H = form.M, form.N, form.H
    size = min(n, BLOCK)
    kept = n if supervised else size  # the cosine needs all codes before its first gradient
    return Workspace(
        np.empty(kept * H, np.float32),
        np.empty(kept * N, np.float32),
        np.empty(size * N, np.float32),
        np.empty(size * H, np.float32),
        np.empty(size * M, np.float32),
        np.empty((H if H else M, N), np.float32),
        np.empty((N, M), np.float32),
        np.empty((form.keep + 1, BLOCK), np.float32),
        np.empty(BLOCK, np.int32),
    )


@inlined
def _reconstruction_gradient(
    layers: Layers, grads: Layers, samples: Samples, batch: int, form: Form, work: Workspace, l1_weight: float
) -> None:
    """Add the gradient of  mean (x - D s)^2 + lambda mean |s|  over one batch to grads."""
    n, M, N, H = samples.n, form.M, form.N, form.H
    # taking an array out of a tuple costs more than reading it: once a step, not in every block
    x, (W1, b1, W2, b2, D), (gW1, gb1, gW2, gb2, gD) = samples.x, layers, grads
    hidden, found, store_g, store_back, store_r, W2T, DT, top, spare = work
    scale, push = np.float32(2 / (n * M)), np.float32(l1_weight / (n * N))
    for start in range(0, n, BLOCK):
        end = min(n, start + BLOCK)
        k = end - start
        X = x[(batch + start) * M : (batch + end) * M].reshape(M, k)
        h, s = hidden[: k * H].reshape(H, k), found[: k * N].reshape(N, k)
        g, r = store_g[: k * N].reshape(N, k), store_r[: k * M].reshape(M, k)
        _forward(X, h, s, W1, b1, W2, b2, form, top, spare)
        product(D, s, r)
        for i in range(M):
            ri, xi = r[i], X[i]
            for j in range(k):
                ri[j] = scale * (ri[j] - xi[j])
        if form.learned:
            add_cross(r, s, gD)
        product(DT, r, g)
        for i in range(N):
            gi, si = g[i], s[i]
            for j in range(k):
                gi[j] += push if si[j] > ZERO else (-push if si[j] < ZERO else ZERO)
        _backward(X, h, s, g, gW1, gb1, gW2, gb2, form, W2T, store_back)


@inlined
def _supervised_gradient(
    layers: Layers, grads: Layers, samples: Samples, batch: int, form: Form, work: Workspace, sums: Cosines
) -> None:
    """Add the gradient of minus the mean cosine over one batch to grads: first all codes, then block by block."""
    n, M, N, H = samples.n, form.M, form.N, form.H
    x, codes, (W1, b1, W2, b2, _), (gW1, gb1, gW2, gb2, _) = samples.x, samples.codes, layers, grads
    hidden, found, store_g, store_back, _, W2T, _, top, spare = work
    dots, squares, norms = sums
    dots[:], squares[:] = ZERO, ZERO
    for backwards in range(2):
        for start in range(0, n, BLOCK):
            end = min(n, start + BLOCK)
            k = end - start
            X = x[(batch + start) * M : (batch + end) * M].reshape(M, k)
            C = codes[(batch + start) * N : (batch + end) * N].reshape(N, k)
            h = hidden[start * H : end * H].reshape(H, k)
            s = found[start * N : end * N].reshape(N, k)
            if backwards == 0:
                _forward(X, h, s, W1, b1, W2, b2, form, top, spare)
                _add_dots(s, C, dots, squares)
                continue
            g = store_g[: k * N].reshape(N, k)
            _cosine_gradient(s, C, g, dots, squares, norms)
            _backward(X, h, s, g, gW1, gb1, gW2, gb2, form, W2T, store_back)


@inlined
def _forward(
    X: Any, h: Any, s: Any, W1: Any, b1: Any, W2: Any, b2: Any, form: Form, top: Any, spare: Any
) -> None:
    """h and s for a block."""
    if form.H:
        product(W1, X, h)
        _activate(h, b1, True)
    product(W2, h if form.H else X, s)
    _activate(s, b2, form.relu)
    if form.keep:
        keep_largest(s, form.keep, top, spare)


@inlined
def _backward(
    X: Any, h: Any, s: Any, g: Any, gW1: Any, gb1: Any, gW2: Any, gb2: Any, form: Form, W2T: Any, store: Any
) -> None:
    """Add the gradients of W1, b1, W2, b2, given that with respect to s."""
    if form.relu:
        _gate(g, s)
    add_cross(g, h if form.H else X, gW2)
    if form.bias:
        _add_sums(g, gb2)
    if form.H:
        back = store[: h.size].reshape(h.shape)
        product(W2T, g, back)
        _gate(back, h)
        add_cross(back, X, gW1)
        if form.bias:
            _add_sums(back, gb1)


@fused
def _activate(s: Any, b: Any, relu: bool) -> None:
    """s + b, then relu if asked."""
    for i in range(len(s)):
        row, c = s[i], b[i]
        if relu:
            for j in range(len(row)):
                row[j] = max(row[j] + c, ZERO)
        else:
            for j in range(len(row)):
                row[j] += c


@fused
def _gate(g: Any, s: Any) -> None:
    """The gradient through relu: g where s > 0, otherwise 0."""
    for i in range(len(s)):
        a, b = g[i], s[i]
        for j in range(len(a)):
            a[j] = a[j] if b[j] > ZERO else ZERO


@fused
def _add_sums(g: Any, out: Any) -> None:
    for i in range(len(g)):
        t, row = ZERO, g[i]
        for j in range(len(row)):
            t += row[j]
        out[i] += t


@inlined
def _norms(samples: Samples, batch: int, N: int, out: Any) -> None:
    """||c_i|| over one batch."""
    out[:] = ZERO
    for start in range(batch, batch + samples.n, BLOCK):
        C = samples.codes[start * N : min(batch + samples.n, start + BLOCK) * N].reshape(N, -1)
        for i in range(N):
            out[i] += np.sum(C[i] * C[i])
    out[:] = np.sqrt(out)


@inlined
def _add_dots(s: Any, C: Any, dots: Any, squares: Any) -> None:
    for i in range(len(s)):
        si, ci = s[i], C[i]
        t, q = ZERO, ZERO
        for j in range(len(si)):
            t += si[j] * ci[j]
            q += si[j] * si[j]
        dots[i] += t
        squares[i] += q


@inlined
def _cosine_gradient(s: Any, C: Any, g: Any, dots: Any, squares: Any, norms: Any) -> None:
    """g = -d/ds (s . c / (||s|| ||c||)) / N, latent by latent."""
    N = len(s)
    for i in range(N):
        si, ci, gi = s[i], C[i], g[i]
        size, other = max(np.sqrt(squares[i]), TINY), max(norms[i], TINY)
        towards = ONE / (size * other * np.float32(N))
        away = towards * dots[i] / (size * size)
        for j in range(len(si)):
            gi[j] = away * si[j] - towards * ci[j]
