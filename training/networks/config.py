"""A network's config as transformers reads it; errors of transformers become one sentence."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from transformers import AutoConfig, PreTrainedConfig

if TYPE_CHECKING:
    from transformers import PreTrainedModel  # needs torch


def read_config(path: Path | str, **changes: Any) -> Any:
    """Read the config of a network folder with transformers, with `changes`; code in the folder is never run.

    Raise ValueError if transformers cannot read it.
    """
    with refusing(path, "its config"):
        return AutoConfig.from_pretrained(path, local_files_only=True, trust_remote_code=False, **changes)


def class_for(config: PreTrainedConfig, mapping: Mapping[type[PreTrainedConfig], object]) -> "type[PreTrainedModel]":
    """Return the class of networks with this config by one of transformers' mappings."""
    return cast("type[PreTrainedModel]", mapping[type(config)])  # annotated as the pair that tokenizers once were


@contextmanager
def refusing(path: Path | str, what: str) -> Iterator[None]:
    """Turn whatever transformers raises while it loads `what` from a folder into a ValueError of one sentence."""
    try:
        yield
    except MemoryError:
        raise
    except Exception as error:  # transformers raises all kinds
        if str(error).startswith(f"{path}:"):
            raise
        said = " ".join(str(error).split())
        if "trust_remote_code" in said:
            said = "needs code of its own (auto_map), which is never run; name a network of transformers"
        elif said.startswith("Unrecognized configuration class"):
            said = "transformers has no causal language model of its kind; name a network that writes text"
        elif "sentencepiece" in said or "tiktoken" in said:
            said = (
                "its tokenizer has no tokenizer.json; make one: pip install sentencepiece protobuf, then "
                "AutoTokenizer.from_pretrained(folder).save_pretrained(folder)"
            )
        else:
            said = f"transformers cannot load {what}: {type(error).__name__}: {said[:300]}"
        raise ValueError(f"{path}: {said}") from error
