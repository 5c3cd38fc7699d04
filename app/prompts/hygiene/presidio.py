"""Personal data that presidio finds beyond our own detectors, for installations with the extra `pii`.

Finds names and places if one of spaCy's English models is also installed (en_core_web_sm, md or lg; nothing is
downloaded), and cryptocurrency wallets. Kinds that both know are left to our detectors: on the labelled texts of
tests/app/prompts/hygiene, presidio alone finds 0.36 with a precision of 0.72.
"""

from collections.abc import Iterator
from functools import cache

from app.errors import PlumblineError
from app.kit.i18n import N_
from app.kit.i18n import gettext as _
from app.prompts.hygiene.kinds import Hit, PersonalData

_KINDS = {
    "PERSON": PersonalData.NAME,
    "LOCATION": PersonalData.PLACE,
    "CRYPTO": PersonalData.BANK_ACCOUNT,
    "MEDICAL_LICENSE": PersonalData.NATIONAL_ID,
}
_MODELS = ("en_core_web_lg", "en_core_web_md", "en_core_web_sm")


class PresidioMissing(PlumblineError):
    """The setting asks for presidio, but it is not installed."""

    status = 501
    title = N_("Not installed here")


def findings(text: str) -> Iterator[Hit]:
    """Yield what presidio finds in a text; raises PresidioMissing without the extra."""
    for found in _analyzer().analyze(text, language="en", entities=list(_KINDS)):
        yield Hit(_KINDS[found.entity_type], found.start, found.end)


@cache
def _analyzer():
    try:
        import spacy
        from presidio_analyzer import AnalyzerEngine, RecognizerRegistry
        from presidio_analyzer.nlp_engine import SpacyNlpEngine
        from presidio_analyzer.predefined_recognizers import CryptoRecognizer, MedicalLicenseRecognizer, SpacyRecognizer
    except ImportError as error:
        raise PresidioMissing(
            _("PLUMBLINE_PERSONAL_DATA is “presidio”, which is not installed. Run pip install -e '.[pii]' or unset it.")
        ) from error
    model = next(filter(spacy.util.is_package, _MODELS), None)
    engine = SpacyNlpEngine()
    engine.nlp = {"en": spacy.load(model) if model else spacy.blank("en")}  # its own `load` downloads a model
    # Only three recognizers: the registry's defaults are fifty, and its e-mail one downloads a list of domains.
    recognizers = [CryptoRecognizer(), MedicalLicenseRecognizer(), SpacyRecognizer()]
    return AnalyzerEngine(RecognizerRegistry(recognizers), engine, supported_languages=["en"])
