"""What looking at prompts costs: personal data, signature and language of each, and texts made to be slow.

make bench ONLY="hygiene importing"
"""

import json
import os
import random
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path

from datasketch import MinHash

from app.prompts.hygiene.languages import language
from app.prompts.hygiene.near_duplicates import are_near_duplicates, bands, normal_form, signature
from app.prompts.hygiene.personal_data import find
from tests.benchmarks.personal_data import examples
from training.miniature.base_text import corpus

CHARACTERS, PROMPTS, ROUNDS = 300, 400, 5
IMPORTED = 4_000
HOSTILE_CHARACTERS = 50_000
# What a text may be made of so that one of the detectors is slow.
HOSTILE = [
    "a", "1", "@", "a@", "a@a.", "1 ", "1.", "0 ", "00 ", "(1", "+1 ", "1 / ", "%40", "a (at) b", "mail a at b dot ",
    "eyJaaaaaaaa.eyJ", "-----BEGIN PRIVATE KEY-----", "password: ", "password ", "a://a:a@", "curl -u", "mysql -p",
    "tel 999999999 ", "tel 0090  231 565-8 7604 ", "call 12345 678 9 ", "+44 20 7946 0018 ", "0999 999 999 9 ",
    "4111 1111 1111 1111 ", "DE89 3704 0044 0532 0130 00 ", "1.2.3.4 ", "1:2:", "aa:bb:cc:dd:ee:f0 ", "12345678901 ",
    "ssn 123456788 ", "714.088.767-52 ", "cpf pesel bsn ssn sin nhs uid 123456789 ", "passport 123456789 ", "1\u200b",
    "AAAAAA00A00A000A ", "account 123456 ", "<<<<<<<<<1AAA", "1 2 3 4 5 6 7 8 9 0 ", "20190101 ", "密码：", "https://",
]  # fmt: skip


def prompts() -> list[str]:
    """Texts of 300 characters: a labelled one each, nearly half of which hold personal data, and prose to fill."""
    random.seed(0)
    labelled = [text for half in ("develop", "held") for text, _ in examples(half)]
    prose = "\n".join(islice(corpus(0, 60_000), 4_000))
    texts = random.sample(labelled, PROMPTS)
    return [f"{text}\n{prose[CHARACTERS * place :]}"[:CHARACTERS] for place, text in enumerate(texts)]


def seconds(work: Callable[[str], object], texts: list[str], rounds: int = ROUNDS) -> float:
    """Processor time of the fastest of a few rounds."""
    times = []
    for _ in range(rounds):
        began = time.process_time()
        for text in texts:
            work(text)
        times.append(time.process_time() - began)
    return min(times)


def hygiene(_: Path) -> Iterator[tuple[str, float, str]]:
    """Prompts of 300 characters a second on one core, each part and all; hostile texts of 50,000 and 25,000."""
    texts = prompts()
    began = time.process_time()
    _everything(texts[0])
    yield "hygiene: the first text, which loads the models", time.process_time() - began, "s"
    parts = {"personal data": find, "signature": signature, "language": language, "all of it": _everything}
    for name, work in parts.items():
        yield f"hygiene: {name}", PROMPTS / seconds(work, texts), "prompts/s"
    yield "hygiene: datasketch's signature", PROMPTS / seconds(_by_datasketch, texts), "prompts/s"
    pairs = seconds(lambda text: are_near_duplicates(text, text[:-1] + "x"), texts)
    yield "hygiene: candidates confirmed", PROMPTS / pairs, "pairs/s"
    unit, long, short = max(map(_hostile, HOSTILE), key=lambda one: one[1])
    yield f"hygiene: {HOSTILE_CHARACTERS:,} of {unit!r}, the slowest", long, "s"
    yield "hygiene: as often as long as half of it", long / short, "times"


def importing(folder: Path) -> Iterator[tuple[str, float, str]]:
    """New prompts of 300 characters that are imported in a second of processor time, the start left out."""
    random.seed(0)
    words = sorted({word for text in prompts() for word in text.split() if word.isalpha() and word.isascii()})
    texts = [" ".join(random.choices(words, k=80))[:CHARACTERS] for _ in range(IMPORTED + 1)]
    command = [sys.executable, "-m", "app.cli"]
    environment = os.environ | {"PLUMBLINE_DATA_DIR": str(folder / "data"), "OMP_NUM_THREADS": "1"}
    subprocess.run([*command, "migrate"], env=environment, check=True, stdout=subprocess.DEVNULL)
    took = []
    for number, some in enumerate((texts[:1], texts[1:])):
        file = folder / f"{number}.jsonl"
        file.write_text("".join(json.dumps({"prompt": text}) + "\n" for text in some))
        began = _processor_time_of_children()
        command_line = [*command, "import", "prompts", str(file)]
        subprocess.run(command_line, env=environment, check=True, stdout=subprocess.DEVNULL)
        took.append(_processor_time_of_children() - began)
    yield "importing prompts", IMPORTED / (took[1] - took[0]), "prompts/s"


def _processor_time_of_children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _everything(text: str) -> None:
    find(text)
    bands(signature(text))
    language(text)


def _by_datasketch(text: str) -> bytes:
    form = normal_form(text)
    sketch = MinHash(num_perm=126, seed=1)
    sketch.update_batch({form[place : place + 5].encode() for place in range(max(1, len(form) - 4))})
    return sketch.hashvalues.tobytes()


def _hostile(unit: str) -> tuple[str, float, float]:
    """The unit, and the seconds that a text of it takes, and one of half the length."""
    lengths = (HOSTILE_CHARACTERS, HOSTILE_CHARACTERS // 2)
    texts = ((unit * (length // len(unit) + 1))[:length] for length in lengths)
    return unit, *(seconds(find, [text], rounds=2) for text in texts)
