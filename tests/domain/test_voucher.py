"""Codes of vouchers: what is typed is read, a slip is no code, and the same op gives the same ones."""

from smartoken.domain.voucher import ALPHABET, LETTERS, code_of, letters_of

PEPPER = b"p" * 32


def test_codes_are_read_as_people_type_them():
    for n in range(200):
        code = code_of(PEPPER, "spring", n)
        letters = letters_of(code)
        assert letters is not None and len(letters) == LETTERS
        assert letters_of(f"  {code.lower().replace('-', ' ')} ") == letters == letters_of(code.replace("1", "l"))


def test_a_slip_is_no_code():
    code = code_of(PEPPER, "spring", 0)
    for at in range(len("stv-"), len(code)):
        for letter in ALPHABET:
            if code[at] not in ("-", letter):
                assert letters_of(code[:at] + letter + code[at + 1:]) is None


def test_codes_follow_from_op_number_and_pepper_alone():
    codes = {code_of(pepper, op, n) for pepper in (PEPPER, b"q" * 32) for op in ("a", "b", "1:a") for n in range(50)}
    assert len(codes) == 2 * 3 * 50
    assert code_of(PEPPER, "a", 7) in codes and code_of(PEPPER, "a", 7) == code_of(PEPPER, "a", 7)
