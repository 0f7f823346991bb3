"""
A subset path that is proven
============================

Which of ten baseline variables foretell how diabetes goes on, for every number of variables from one to ten; for each
of them it is proven that no other choice of as many variables fits better. (Data: Efron, Hastie, Johnstone and
Tibshirani, *Least Angle Regression*, 2004; 442 patients.)
"""

import numpy as np
from matplotlib import pyplot as plt
from sklearn.datasets import load_diabetes

import l0quad

data = load_diabetes()
names = ["age", "sex", "bmi", "bp", "tc", "ldl", "hdl", "tch", "ltg", "glu"]
ks = range(1, 11)
path = l0quad.path(data.data, data.target, ks, fit_intercept=True, standardize=True)
print(path.table())

# %%
# A row is a number of variables, a column a variable, a colour its coefficient (per standard deviation of the
# variable, in units of the disease score). ``tc`` enters with five, and ``hdl`` leaves when it does.

coefficients = np.array([fit.coef for fit in path]) * data.data.std(axis=0)
largest = np.abs(coefficients).max()
shown = np.where(coefficients == 0, np.nan, coefficients)

figure, axes = plt.subplots(figsize=(7.5, 5), layout="constrained")
image = axes.pcolormesh(shown, cmap="RdBu", vmin=-largest, vmax=largest, edgecolors="0.85", linewidth=0.5)
axes.set(xticks=np.arange(10) + 0.5, yticks=np.arange(10) + 0.5, ylabel="number of variables k")
axes.set_xticklabels(names)
axes.set_yticklabels([str(k) for k in ks])
axes.tick_params(length=0)
figure.colorbar(image, label="coefficient (score per standard deviation)")

# %%
# How many are worth it? The Bayesian information criterion says:

fit = path.best("bic")
print(fit.k, [names[j] for j in fit.result.support], fit.result.status.name)
