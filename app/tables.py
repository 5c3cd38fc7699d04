"""Every table of the application, in the order of the features; migrations read the metadata from here."""

from app.accounts import tables as accounts  # noqa: F401
from app.assignments import tables as assignments  # noqa: F401
from app.checkpoints import tables as checkpoints  # noqa: F401
from app.comparisons import tables as comparisons  # noqa: F401
from app.completions import tables as completions  # noqa: F401
from app.conversations import tables as conversations  # noqa: F401
from app.database import Base
from app.demonstrations import tables as demonstrations  # noqa: F401
from app.guidelines import tables as guidelines  # noqa: F401
from app.jobs import tables as jobs  # noqa: F401
from app.onboarding import tables as onboarding  # noqa: F401
from app.plans import tables as plans  # noqa: F401
from app.policies import tables as policies  # noqa: F401
from app.prompt_writing import tables as prompt_writing  # noqa: F401
from app.prompts import tables as prompts  # noqa: F401
from app.reports import tables as reports  # noqa: F401
from app.rounds import tables as rounds  # noqa: F401
from app.snapshots import tables as snapshots  # noqa: F401

metadata = Base.metadata
