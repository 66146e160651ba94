"""Tasks of sentences: word problems, and agreement of a verb with its subject."""

from __future__ import annotations

from synkern.tasks.arithmetic import number_slips, wrong_numbers
from synkern.tasks.draws import Draft, Draws

_NAMES = ("Ada", "Ben", "Ida", "Jon", "Kim", "Leo", "Mia", "Noa", "Pia", "Sam", "Tom", "Zoe")
_THINGS = ("apples", "balls", "books", "cards", "coins", "eggs", "nuts", "pens", "shells", "stones")
_MORE = ("{other} gives {name} {n} more.", "{name} finds {n} more.", "{name} buys {n} more.")
_LESS = ("{name} gives {n} of them to {other}.", "{name} loses {n} of them.", "{name} sells {n}.")

# By level: whether it starts with boxes, how many steps follow, and the digits of the numbers.
_PROBLEMS = {1: (False, 1, 1), 2: (False, 1, 2), 3: (False, 2, 1), 4: (True, 1, 1), 5: (True, 2, 2)}

_VERBS = (("is", "are"), ("was", "were"), ("has", "have"))
_NOUNS = (
    *(("apple", "apples"), ("box", "boxes"), ("bird", "birds"), ("car", "cars"), ("cat", "cats")),
    *(("chair", "chairs"), ("child", "children"), ("city", "cities"), ("dog", "dogs")),
    *(("flower", "flowers"), ("foot", "feet"), ("horse", "horses"), ("house", "houses")),
    *(("key", "keys"), ("knife", "knives"), ("lamp", "lamps"), ("leaf", "leaves")),
    *(("mouse", "mice"), ("river", "rivers"), ("road", "roads"), ("stone", "stones")),
    *(("table", "tables"), ("tooth", "teeth"), ("tree", "trees"), ("window", "windows")),
)
_PEOPLE = (
    *(("boy", "boys"), ("doctor", "doctors"), ("farmer", "farmers"), ("girl", "girls")),
    *(("man", "men"), ("painter", "painters"), ("teacher", "teachers"), ("woman", "women")),
)
_DOING = (("draws", "draw"), ("likes", "like"), ("sees", "see"), ("wants", "want"))
_QUALITIES = ("big", "black", "clean", "new", "old", "red", "small", "white")
_PLACES = ("behind", "beside", "near", "opposite")


def word_problem(draws: Draws, level: int) -> Draft:
    """Make a story of what someone has, gets and loses, and the question how many remain."""
    boxes, steps, digits = _PROBLEMS[level]
    low, high = (2, 9) if digits == 1 else (10, 99)
    name, other = draws.some(_NAMES, 2)
    thing = draws.one(_THINGS)
    held = draws.between(low, high)
    said = [f"{name} has {held} {thing}."]
    slips = [held]
    if boxes:
        count = draws.between(2, 9)
        said = [f"{name} has {count} boxes with {held} {thing} in each."]
        slips += [count + held]
        held *= count
    for _ in range(steps):
        loses = held >= low and draws.below(2) == 1
        n = draws.between(low, min(high, held)) if loses else draws.between(low, high)
        said.append(draws.one(_LESS if loses else _MORE).format(name=name, other=other, n=n))
        slips += [held, abs(held + n if loses else held - n)]
        held += -n if loses else n
    question = f"How many {thing} does {name} have now? Answer:"
    wrong = wrong_numbers(draws, held, [*number_slips(held), *slips])
    return Draft(" ".join([*said, question]), f" {held}", tuple(f" {each}" for each in wrong))


def agreement(draws: Draws, level: int) -> Draft:
    """Make a subject, what stands between it and its verb, and a choice of two verbs."""
    many = draws.below(2)
    verbs = draws.one(_VERBS)
    nouns = draws.some(_NOUNS, 3)
    subject = nouns[0][many]
    if level == 2:
        subject = f"{draws.one(_QUALITIES)} {subject}"
    # What comes between is of the other number, so that the nearest noun misleads.
    between = [f"{draws.one(_PLACES)} the {noun[1 - many]}" for noun in nouns[1:]]
    if level == 5:
        person, verb = draws.one(_PEOPLE), draws.one(_DOING)
        between = [f"that the {person[1 - many]} {between[0]} {verb[1 - many]}"]
    phrase = " ".join([subject, *between[: {3: 1, 4: 2, 5: 1}.get(level, 0)]])
    prompt = f"Choose {verbs[0]} or {verbs[1]}: The {phrase}"
    return Draft(prompt, f" {verbs[many]}", (f" {verbs[1 - many]}",))
