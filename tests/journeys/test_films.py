"""Films survive everything: no call is created twice, charged twice or left half-done, whoever is killed."""

from tests.journeys import films


def test_films_over_two_workers_that_are_killed_in_turn(tmp_path):
    ended = films.run(tmp_path, count=30, kills=3)
    assert ended["done"] > 5 and ended["killed"] == 3, ended
