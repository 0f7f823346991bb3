"""What refit stages are like."""

from dataclasses import dataclass

from l0quad_adapters.torch.checks import check_integers, real


@dataclass(frozen=True, slots=True)
class Refit:
    """How refit stages renew the weights on the support that there is.

    A step of natural gradient descent: the gradient's term asks each row's loss to fall (by 1 / m, yet not below zero),
    and the ridge pulls towards the weights moved on by a share of the last refit's step: Goldshlager, Abrahamsen and
    Lin, "A Kaczmarz-inspired approach to accelerate the optimization of neural network wavefunctions", J. Comput. Phys.
    2024 (SPRING), on the support.

    Parameters
    ----------
    between : int
        How many refits follow each pruning stage but the last. Where there are any, no pruning stage has the gradient's
        term, and those after the first compute no rows: they take the last n_rows computed, which are a little old.
    n_rows : int, optional
        The fresh rows of a refit, a divisor of those of a pruning stage; as many by default.
    l2 : float, optional
        The damping of a refit; that of the pruning stages by default.
    momentum : float
        The share of the last step, in [0, 1).
    average : int
        The weights at the end are the mean of those after so many of the last refits, in which the noise of their steps
        cancels (Polyak and Juditsky, SIAM J. Control Optim. 1992); 0 takes those of the last one.

    Examples
    --------
    >>> import torch
    >>> _ = torch.manual_seed(0)
    >>> model = torch.nn.Linear(8, 3).eval()
    >>> from l0quad_adapters.torch import Refit, prune
    >>> data = torch.randn(60, 8), torch.randint(3, (60,))
    >>> refit = Refit(between=1, momentum=0.5)
    >>> report = prune(model, torch.nn.functional.cross_entropy, data, 0.5, stages=2, refit_stages=0, refit=refit)
    >>> len(report.stages)
    3
    """

    between: int = 0
    n_rows: int | None = None
    l2: float | None = None
    momentum: float = 0.0
    average: int = 0

    def __post_init__(self) -> None:
        check_integers(0, **{"refit.between": self.between, "refit.average": self.average})
        if self.n_rows is not None:
            check_integers(**{"refit.n_rows": self.n_rows})
        if self.l2 is not None:
            real(self.l2, "refit.l2")
        real(self.momentum, "refit.momentum", below=1.0)
