"""How llama-server's options are searched."""

from benchmarks.peers import tuning
from benchmarks.peers.contenders import Needs
from benchmarks.peers.tuning import Options


def searched(needs: Needs, cores: int, best: Options) -> list[Options]:
    """Everything that is tried when `best` wins whenever it is known, else the beginning."""
    tried = [tuning.first(needs)]
    search = tuning.rounds(tried[0], needs, cores)
    step = next(search, None)
    while step is not None:
        tried += step
        try:
            step = search.send(best if best in tried else tried[0])
        except StopIteration:
            step = None
    return tried


def test_it_begins_with_as_many_slots_as_the_daemon_has() -> None:
    assert tuning.first(Needs(slots=8)).words() == ["-np", "8", "-kvu", "-b", "2048", "-ub", "512"]


def test_every_option_is_tried() -> None:
    tried = searched(Needs(slots=8), 4, tuning.first(Needs(slots=8)))

    assert {options.slots for options in tried} == {8, 4}
    assert {options.batch for options in tried} == {2048, 512, 128, 64}
    assert {options.threads for options in tried} == {None, 4, 2}
    assert {options.cache_mib for options in tried} == {None, 0}


def test_what_was_best_is_kept_for_what_is_tried_next() -> None:
    tried = searched(Needs(slots=8), 4, Options(8, batch=128, micro_batch=128))

    after = tried[tried.index(Options(8, batch=512)) + 1 :]
    assert after
    assert all(options.batch == 128 for options in after)


def test_a_given_cache_is_not_tuned() -> None:
    tried = searched(Needs(slots=4, cache_mib=64), 2, Options(4, cache_mib=64))

    assert {options.cache_mib for options in tried} == {64}
