"""Identity numbers, cards and accounts: examples that authorities publish are known, misread ones are not."""

import pytest

from app.prompts.hygiene import check_digits
from app.prompts.hygiene.personal_data import PersonalData, find

# Country and document, a text, and the example in it: of the authority's own guide, of a standard, or of Wikipedia.
PUBLISHED = [
    ("US social security number", "SSN 536-22-8726", "536-22-8726"),
    ("US taxpayer number", "ITIN 912-70-1234", "912-70-1234"),
    ("UK national insurance number", "national insurance number AB123456C", "AB123456C"),
    ("UK NHS number", "NHS number 943 476 5919", "943 476 5919"),
    ("German tax number", "Steuer-ID 86 095 742 719", "86 095 742 719"),
    ("German identity card", "Personalausweis L01X00T471", "L01X00T471"),
    ("German identity card, old", "Ausweisnummer T220001293", "T220001293"),
    ("German pension insurance", "Rentenversicherungsnummer 15 070649 C 103", "15 070649 C 103"),
    ("French social security number", "2 55 08 14 168 025 38", "2 55 08 14 168 025 38"),
    ("Spanish identity card", "DNI 12345678Z", "12345678Z"),
    ("Spanish foreigner's number", "X1234567L", "X1234567L"),
    ("Italian codice fiscale", "RSSMRA85T10A562S", "RSSMRA85T10A562S"),
    ("Portuguese tax number", "NIF 123 456 789", "123 456 789"),
    ("Irish PPS number", "PPS number 1234567FA", "1234567FA"),
    ("Dutch BSN", "BSN 111222333", "111222333"),
    ("Belgian national number", "85.07.30-033.28", "85.07.30-033.28"),
    ("Swiss AHV number", "756.9217.0769.85", "756.9217.0769.85"),
    ("Austrian insurance number", "Sozialversicherungsnummer 1237 010180", "1237 010180"),
    ("Swedish personal number", "811228-9874", "811228-9874"),
    ("Norwegian personal number", "15108695088", "15108695088"),
    ("Danish CPR number", "CPR-nummer 211062-5629", "211062-5629"),
    ("Finnish personal code", "131052-308T", "131052-308T"),
    ("Icelandic kennitala", "kennitala 120174-3399", "120174-3399"),
    ("Estonian personal code", "isikukood 37605030299", "37605030299"),
    ("Lithuanian personal code", "asmens kodas 33309240064", "33309240064"),
    ("Latvian personal code", "personas kods 161175-19997", "161175-19997"),
    ("Polish PESEL", "PESEL 44051401359", "44051401359"),
    ("Czech birth number", "710319/2745", "710319/2745"),
    ("Hungarian tax number", "adóazonosító jel 8071592153", "8071592153"),
    ("Romanian CNP", "CNP 1630615123457", "1630615123457"),
    ("Bulgarian EGN", "ЕГН 7523169263", "7523169263"),
    ("Croatian OIB", "OIB 33392005961", "33392005961"),
    ("Yugoslav JMBG", "JMBG 0101006500006", "0101006500006"),
    ("Greek AMKA", "AMKA 01013099997", "01013099997"),
    ("Turkish identity number", "T.C. kimlik no 17291716060", "17291716060"),
    ("Russian SNILS", "112-233-445 95", "112-233-445 95"),
    ("Russian INN", "ИНН 123456789047", "123456789047"),
    ("Ukrainian tax number", "РНОКПП 1759013776", "1759013776"),
    ("Brazilian CPF", "390.533.447-05", "390.533.447-05"),
    ("Canadian SIN", "SIN 123-456-782", "123-456-782"),
    ("Mexican CURP", "BOXW310820HNERXN09", "BOXW310820HNERXN09"),
    ("Chilean RUT", "12.531.909-2", "12.531.909-2"),
    ("Argentine CUIT", "20-05536168-2", "20-05536168-2"),
    ("Indian Aadhaar", "Aadhaar 2341 2341 2346", "2341 2341 2346"),
    ("Indian PAN", "ABCPE1234F", "ABCPE1234F"),
    ("Chinese identity number", "11010519491231002X", "11010519491231002X"),
    ("Taiwanese identity number", "身分證字號 A123456789", "A123456789"),
    ("Hong Kong identity card", "A123456(3)", "A123456(3)"),
    ("Singaporean NRIC", "S1234567D", "S1234567D"),
    ("South Korean registration number", "주민등록번호 971013-9019902", "971013-9019902"),
    ("Japanese My Number", "マイナンバー 1234 5678 9018", "1234 5678 9018"),
    ("Thai identity number", "1-2345-45678-78-1", "1-2345-45678-78-1"),
    ("Israeli identity number", "תעודת זהות 000000018", "000000018"),
    ("Iranian national code", "کد ملی 0499370899", "0499370899"),
    ("Pakistani CNIC", "42201-0397640-8", "42201-0397640-8"),
    ("South African identity number", "7503305044089", "7503305044089"),
    ("Australian tax file number", "TFN 123 456 782", "123 456 782"),
    ("Australian Medicare card", "Medicare 2123 45670 1", "2123 45670 1"),
    ("passport, machine-readable", *["L898902C36UTO7408122F1204159ZE184226B<<<<<10"] * 2),
]  # fmt: skip


@pytest.mark.parametrize(("document", "text", "number"), PUBLISHED, ids=[name for name, *_ in PUBLISHED])
def test_published_examples_are_known(document, text, number):
    written = f"Please help: {text}, what does it mean?"
    hits = find(written)
    assert [(hit.kind, written[hit.start : hit.end]) for hit in hits] == [(PersonalData.NATIONAL_ID, number)]


# Whose check digits tell every single misread digit, by the proof of their scheme.
TELLS_EVERY_DIGIT = {
    "German tax number", "German identity card", "Spanish identity card", "Dutch BSN", "Swiss AHV number",
    "Czech birth number", "Croatian OIB", "Canadian SIN", "Indian Aadhaar", "Chinese identity number",
    "Israeli identity number", "French social security number", "Belgian national number", "Chilean RUT",
    "passport, machine-readable",
}  # fmt: skip


@pytest.mark.parametrize("document", sorted(TELLS_EVERY_DIGIT))
def test_a_misread_digit_makes_it_no_number_of_anybody(document):
    text, number = next((text, number) for name, text, number in PUBLISHED if name == document)
    for place in (place for place, character in enumerate(number) if character.isdigit()):
        for digit in "0123456789":
            misread = number[:place] + digit + number[place + 1 :]
            if misread != number:
                kinds = [hit.kind for hit in find(text.replace(number, misread))]
                assert PersonalData.NATIONAL_ID not in kinds, misread


@pytest.mark.parametrize(
    "text",
    [
        "111222333 123456782 44051401359 8071592153",  # without the word for it
        "SSN 000-12-3456, SSN 666-12-3456, SSN 123-00-4567",
        "SSN 078-05-1120, 219-09-9999, SSN 219099999, SSN 123-45-6789, SSN 987-65-4321",  # printed as specimens
        "DNI 00000000T, DNI 11111111H, 99999999R, X0000000T",
        "CPF 111.111.111-11, Aadhaar 1234 5678 9012, BSN 000000000",
        "PESEL 44059901359, personnummer 990231-1234",  # no days
        "20240131K and 19991231Z are releases",  # days, and the second a DNI by its letter
    ],
)
def test_numbers_that_nobody_has_and_numbers_that_could_be_anything(text):
    assert find(text) == []


def test_check_digits_of_the_standards():
    assert check_digits.luhn("79927398713") and not check_digits.luhn("79927398710")
    assert check_digits.verhoeff("2363") and not check_digits.verhoeff("2364")
    assert check_digits.mod_11_10("07945") and not check_digits.mod_11_10("07940")  # ISO 7064's own example
    assert check_digits.mod_97("3214282912345698765432161182")  # GB82 WEST 1234 5698 7654 32
    assert check_digits.ean("4006381333931") and not check_digits.ean("4006381333932")
    assert check_digits.mrz("520727") == 3 and check_digits.mrz("AB2134<<<") == 5  # ICAO 9303-3


@pytest.mark.parametrize(
    ("text", "number"),
    [  # the schemes' own numbers for tests
        ("4111 1111 1111 1111", "4111 1111 1111 1111"), ("5555-5555-5555-4444", "5555-5555-5555-4444"),
        ("378282246310005", "378282246310005"), ("6011111111111117", "6011111111111117"),
        ("30569309025904", "30569309025904"), ("3530111333300000", "3530111333300000"),
        ("6200000000000005", "6200000000000005"), ("2223003122003222", "2223003122003222"),
        ("4222222222222", "4222222222222"),
    ],
)  # fmt: skip
def test_cards_of_every_issuer(text, number):
    written = f"Card: {text}, valid until 05/27"
    assert [(hit.kind, written[hit.start : hit.end]) for hit in find(written)] == [(PersonalData.CARD, number)]
    assert find(f"Card: {text[:-1]}{(int(text[-1]) + 1) % 10}") == []


@pytest.mark.parametrize(
    "iban",
    [  # the registry's examples
        "AL47 2121 1009 0000 0002 3569 8741", "AT61 1904 3002 3457 3201", "BE68 5390 0754 7034",
        "BR1800360305000010009795493C1", "CH93 0076 2011 6238 5295 7", "DE89370400440532013000",
        "ES91 2100 0418 4502 0005 1332", "FR1420041010050500013M02606",
        "GB29 NWBK 6016 1331 9268 19", "IT60X0542811101000000123456", "MT84 MALT 0110 0001 2345 MTLC AST0 01S",
        "NL91 ABNA 0417 1643 00", "NO93 8601 1117 947", "PL61 1090 1014 0000 0712 1981 2874",
        "SA03 8000 0000 6080 1016 7519",
        "SE45 5000 0000 0583 9825 7466", "TR33 0006 1005 1978 6457 8413 26", "UA21 3223 1300 0002 6007 2335 6600 1",
    ],
)  # fmt: skip
def test_ibans_of_many_countries(iban):
    text = f"Send it to {iban} by Monday."
    assert [(hit.kind, text[hit.start : hit.end]) for hit in find(text)] == [(PersonalData.BANK_ACCOUNT, iban)]
    digit = max(place for place, character in enumerate(iban) if character.isdigit())
    misread = iban[:digit] + str((int(iban[digit]) + 1) % 10) + iban[digit + 1 :]
    for wrong in (misread, iban[:-2], f"{iban}5"):
        assert PersonalData.BANK_ACCOUNT not in {hit.kind for hit in find(f"Send it to {wrong}.")}
