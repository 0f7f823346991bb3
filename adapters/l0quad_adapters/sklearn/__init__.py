"""scikit-learn estimators: linear models with at most k variables, and a proof of how good the choice is.

Needs the extra ``l0quad[sklearn]``.
"""

from l0quad_adapters.sklearn.cv import L0RegressorCV as L0RegressorCV
from l0quad_adapters.sklearn.regressor import L0Regressor as L0Regressor

__all__ = ["L0Regressor", "L0RegressorCV"]
