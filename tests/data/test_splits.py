import torch

from lossbench.data.splits import choose, held_out_counts, kept_counts, long_tailed_counts, noisy_labels


def test_held_out_counts_leave_every_class_of_two_on_both_sides():
    # 0.25 of 100 and 10 are 25 and 2.5 → 2 (to even); 2 gives 1 and keeps 1; a single example is not held out.
    counts = torch.tensor([100, 10, 2, 1, 0])
    assert held_out_counts(counts, 0.25).tolist() == [25, 2, 1, 0, 0]
    # 0.99 of 10 is 9.9 → 10, less the one that must stay.
    assert held_out_counts(counts, 0.99).tolist() == [99, 9, 1, 0, 0]


def test_kept_counts_keep_one_of_each_class_that_has_any():
    assert kept_counts(torch.tensor([100, 10, 1, 0]), 0.04).tolist() == [4, 1, 1, 0]


def test_keeping_all_keeps_all():
    assert kept_counts(torch.tensor([7, 3, 0]), 1.0).tolist() == [7, 3, 0]


def test_the_long_tail_falls_by_a_constant_ratio():
    # 1000·100^(-c/2): 1000, 100, 10.
    assert long_tailed_counts(torch.tensor([1000, 1000, 1000]), 100.0).tolist() == [1000, 100, 10]


def test_the_long_tail_of_cifar10_is_the_literatures():
    # Cao et al. 2019's code for CIFAR-10 at factor 100: int(5000·0.01^(c/9)).
    expected = [5000, 2997, 1796, 1077, 645, 387, 232, 139, 83, 50]
    assert long_tailed_counts(torch.full((10,), 5000), 100.0).tolist() == expected


def test_the_long_tail_is_capped_by_what_is_there_and_leaves_one():
    # n_max = 100, profile 100, 10, 1 at factor 100 and 100, 1, 0.01 → 1 at factor 10,000.
    assert long_tailed_counts(torch.tensor([100, 4, 50]), 100.0).tolist() == [100, 4, 1]
    assert long_tailed_counts(torch.tensor([100, 50, 50]), 1e4).tolist() == [100, 1, 1]
    assert long_tailed_counts(torch.tensor([100, 50, 0]), 1e4).tolist() == [100, 1, 0]


def test_a_factor_of_one_cuts_nothing():
    assert long_tailed_counts(torch.tensor([3, 9, 5]), 1.0).tolist() == [3, 9, 5]


def test_choose_takes_the_number_asked_for_of_each_class():
    targets = torch.tensor([0, 1, 2, 1, 0, 1, 1, 2])
    chosen = choose(targets, torch.tensor([1, 3, 0]), seed=5)
    assert torch.bincount(targets[chosen], minlength=3).tolist() == [1, 3, 0]


def test_a_larger_choice_contains_the_smaller():
    targets = torch.arange(200) % 4
    few, many = (choose(targets, torch.full((4,), count), seed=1) for count in (5, 20))
    assert int(few.sum()) == 20
    assert bool((many | ~few).all())


def test_every_example_of_a_class_is_as_likely_to_be_chosen():
    # 2 of 8, 400 draws: Binomial(400, ¼) each, mean 100, standard deviation 8.7; five of them either way.
    targets = torch.zeros(8, dtype=torch.int64)
    times = sum(choose(targets, torch.tensor([2]), seed).long() for seed in range(400))
    assert isinstance(times, torch.Tensor)
    assert int(times.min()) > 56
    assert int(times.max()) < 144


def test_noise_replaces_the_share_asked_for_by_the_other_classes_evenly():
    targets = torch.zeros(10_000, dtype=torch.int64)
    noisy = noisy_labels(targets, 5, 0.2, seed=3)
    counts = torch.bincount(noisy, minlength=5)
    # Changed: Binomial(10⁴, 0.2), 2000 ± 40. Each other class: Binomial(10⁴, 0.05), 500 ± 22. Five deviations.
    assert 1800 < int(counts[1:].sum()) < 2200
    assert 390 < int(counts[1:].min()) <= int(counts[1:].max()) < 610


def test_noise_at_rate_one_leaves_no_label():
    targets = torch.arange(1000) % 3
    assert bool((noisy_labels(targets, 3, 1.0, seed=0) != targets).all())


def test_noise_at_rate_zero_leaves_every_label():
    targets = torch.arange(1000) % 3
    assert torch.equal(noisy_labels(targets, 3, 0.0, seed=0), targets)


def test_labels_changed_at_a_low_rate_are_changed_alike_at_a_high_one():
    targets = torch.arange(1000) % 7
    low, high = (noisy_labels(targets, 7, rate, seed=0) for rate in (0.1, 0.4))
    changed = low != targets
    assert bool(changed.any())
    assert torch.equal(low[changed], high[changed])
