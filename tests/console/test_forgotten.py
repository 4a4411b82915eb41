"""A forgotten password: an owner sets another on the page, and the last owner is let in again by the command."""

import re

import pyotp

from tests.console.kit import PASSWORD, Person


def test_an_owner_sets_a_forgotten_password_on_the_page(console, owner):
    owner.api("POST", "/people", {"name": "forgetful", "role": "support", "password": PASSWORD})
    before = Person(console).sign_in("forgetful")
    page = owner.page("/console/people")
    (form,) = [form for form in re.findall(r"<form.*?</form>", page, re.S) if 'name="do" value="password"' in form]
    assert re.findall(r'<input [^>]*name="(\w+)"', form) == ["_csrf", "do", "name", "password"]
    short = owner.form("/console/people", do="password", name="forgetful", password="short")
    assert short.status_code == 400 and 'value="forgetful"' in short.text.partition('id="f-forgot-name"')[2][:200]
    assert before.api("GET", "/me").status_code == 200
    done = owner.form("/console/people", do="password", name="Forgetful", password="another horse battery")
    assert (done.status_code, done.headers["location"]) == (303, "/console/people?done=password")
    assert before.api("GET", "/me").status_code == 401, "every session ends"
    assert Person(console).form("/console/sign-in", name="forgetful", password=PASSWORD).status_code == 401
    Person(console).sign_in("forgetful", "another horse battery").close()
    assert owner.form("/console/people", do="password", name="nobody", password=PASSWORD).status_code == 404


def test_the_last_owner_is_let_in_again_by_the_command(new_gateway):
    owner = Person(new_gateway).first_owner()
    offer = owner.api("GET", "/me/second-factor").json()
    assert owner.api("PUT", "/me/second-factor", {"secret": offer["secret"], "password": PASSWORD,
                                                  "code": pyotp.TOTP(offer["secret"]).now()}).status_code == 204
    told = new_gateway.run("people", "password", "Ada", "--no-second-factor")
    password = re.fullmatch(r"The new password of ada: (\S{20})\n", told)[1]
    assert owner.api("GET", "/me").status_code == 401, "every session ends"
    back = Person(new_gateway)
    assert back.form("/console/sign-in", name="ada", password=PASSWORD).status_code == 401
    assert back.form("/console/sign-in", name="ada", password=password).status_code == 303
    page = back.page("/console/audit")
    assert "new password by the command" in page and password not in page
    new_gateway.run("people", "password", "nobody", code=2)
    owner.close()
    back.close()
