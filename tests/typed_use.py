"""What users write: not run, but mypy must take every line of it, or a public type is too narrow."""

from pathlib import Path

import numpy as np
import scipy.sparse as sp
import torch
from l0quad_adapters.cvxpy import to_cvxpy
from l0quad_adapters.sklearn import L0Regressor, L0RegressorCV
from l0quad_adapters.torch import WoodFisher, attach_masks, gradient_matrix, gradual_prune, prune, prune_layers
from torch.nn.functional import cross_entropy

import l0quad

A = np.random.default_rng(0).standard_normal((20, 5))
b = A[:, 0]
T = torch.tensor(A)

l0quad.minimize(T, T[:, 0], 2)
l0quad.minimize(A.tolist(), b.tolist(), k=l0quad.Groups([0, 0, 1, 1, 2], 1, must=[0]))
l0quad.minimize(sp.csr_array(A), b, k=l0quad.PerBlock(np.arange(5) // 3, (1, 1)))
l0quad.minimize(sp.random(5, 5), b, k=np.int64(2))
l0quad.minimize(A, b, 2, start=[0, 1], bound="tight", callback=lambda s: s.objective < 1)
l0quad.minimize(A, b, 2, w0=[0.0] * 5, linear=range(5))

path = l0quad.path(A, b, [1, 2], [0.1, 0.2], cv=3, constraint=lambda k: l0quad.Cardinality(k, must=["a"]))
path.best("bic").coef.sum()
path.plot().savefig("x.png")
path.save(Path("x"))
ks: list[int] = [fit.k for fit in path]

m = L0Regressor(3, groups=np.arange(5), must=[1]).fit(A, b)
m.predict(A)
L0RegressorCV(np.arange(1, 4)).fit(sp.csr_matrix(A), b)

net = torch.nn.Sequential(torch.nn.Linear(5, 3))
ds = torch.utils.data.TensorDataset(T, T[:, 0].long())
loader = torch.utils.data.DataLoader(ds, 4)
r = prune(net, cross_entropy, loader, 0.5, method=WoodFisher(4))
by_name, by_type = {"0": 0.5}, {torch.nn.Linear: l0quad.NofM(2, 4)}
r = prune(net, torch.nn.CrossEntropyLoss(), ds, by_name, method=l0quad.Swap(), weights=[torch.nn.Linear])
r = prune(net, cross_entropy, ds, by_type)
r = prune(net, cross_entropy, ds, {torch.nn.Linear: 0.5, "0": l0quad.NofM(2, 4)})
r = prune(net, cross_entropy, (T, T[:, 0]), l0quad.NofM(2, 4), out=Path("x"))
r.plot()
r.save(Path("x"))
G = gradient_matrix(net, cross_entropy, loader, n_rows=4)
G = gradient_matrix(net, cross_entropy, [ds[i] for i in range(3)], n_rows=4, dtype=np.float64)
gradual_prune(net, cross_entropy, loader, 0.5, epochs=2)
gradual_prune(net, cross_entropy, loader, 0.5, optimizer=torch.optim.SGD, epochs=2)
prune_layers(net, [T, T], 0.5)
prune_layers(net, loader, by_name)
attach_masks(net)

layer = l0quad.Layer(A, X=T, k=l0quad.PerColumn([1, 2])).solve("exact", bound="tight")
layer = l0quad.Layer(T, H=A.T @ A, k=3).solve(start=layer)
l0quad.GramAccumulator().update(T)

model = to_cvxpy(l0quad.Problem(A, b, 2, 0.1))
d = l0quad.Design(A, weights=[1.0] * 20, standardize=True)
d.coefficients(np.zeros(5), b)
l0quad.open_columns(["a.npy", Path("b.npy")], memory="1GB")
l0quad.compile()

problem, back = l0quad.stack_complex(A * 1j, b, 2)
w: np.ndarray = back(l0quad.solve(problem)).real
kinds: list[l0quad.Kind] = [l0quad.NofM(1, 2, order=[1, 0])]
proof = l0quad.bound(problem, start=np.zeros(5), mode="fast").certificate
