from jobs.sink.difference import differences, shown

OLD = {
    "source": {"uri": "photos/", "id": None},
    "steps": [{"caption": {"num_beams": 1, "prefix": "a"}}, {"invert": {"steps": 50}}],
    "seed": 0,
    "tensors": ["latents"],
}


def test_equal_values_do_not_differ():
    assert differences(OLD, OLD) == []


def test_each_value_that_differs_is_a_line_with_its_keys():
    new = OLD | {"seed": 7, "tensors": [], "steps": [{"caption": {"num_beams": 3, "prefix": "a"}}, OLD["steps"][1]]}
    assert differences(OLD, new) == ["steps.0.caption.num_beams: 1 -> 3", "seed: 0 -> 7", 'tensors: ["latents"] -> []']


def test_what_is_only_in_one_is_told_whole_and_cut_where_it_is_long():
    steps = [OLD["steps"][0], {"edit": {"from": "cat"}}, {"filter": "x" * 100}]
    assert differences(OLD, OLD | {"steps": steps}) == [
        'steps.1.invert: {"steps": 50} -> nothing',
        'steps.1.edit: nothing -> {"from": "cat"}',
        f'steps.2: nothing -> {{"filter": "{"x" * 45}...',
    ]


def test_nothing_and_null_are_told_apart():
    assert differences({"id": None}, {"id": "sku"}) == ["id: null -> sku"]
    assert differences({}, {"id": None}) == ["id: nothing -> null"]


def test_after_twenty_lines_only_their_number_is_told():
    lines = shown([f"key {number}" for number in range(25)]).splitlines()
    assert len(lines) == 21
    assert (lines[0], lines[19], lines[20]) == ("  key 0", "  key 19", "  ... and 5 more")
    assert len(shown([f"key {number}" for number in range(20)]).splitlines()) == 20
