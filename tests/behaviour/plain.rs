//! Frozen stages on the plain device, their cache, and what a run's numbers depend on.

use rekindle::Model;
use rekindle::backbone::Bert;
use rekindle::cache::Cache;
use rekindle::head::Classifier;
use rekindle::objective::LabelledRow;
use rekindle::params::{Freeze, FreezeError, FreezePolicy, Inventory, Progress};
use rekindle::train::{Data, Fit, Report, fit};

use super::support::*;

fn run(
    rows: &[LabelledRow],
    policy: &dyn FreezePolicy,
    config: &Fit,
    dropout: f64,
) -> (Report, Model<Bert, Classifier>) {
    let mut model = classifier(3, dropout);
    let data = Data { train: rows, validation: &rows[..8] };
    let report = fit(&mut model, &task(), data, policy, config, &mut []).unwrap();
    (report, model)
}

/// Freezes what `Bottom` would, but names one embedding as trainable at the start, so that no stage is plain.
#[derive(Debug)]
struct BottomUnderAutodiff(usize);

impl FreezePolicy for BottomUnderAutodiff {
    fn trainable(&self, inventory: &Inventory, at: Progress) -> Result<Vec<bool>, FreezeError> {
        let mut answers = Freeze::Bottom(self.0).trainable(inventory, at)?;
        let segment = inventory.entries.iter().position(|entry| entry.path.contains("token_type")).unwrap_or(0);
        answers[segment] = true;
        Ok(answers)
    }
}

#[test]
fn the_cache_changes_no_bit_for_rows_of_one_length() {
    let rows = equal_rows(32);
    for policy in [Freeze::Backbone, Freeze::Bottom(1), Freeze::Bottom(2)] {
        let config = Fit { bucket: true, ..fit_config(12, 1e-3) };
        let (cached, a) = run(&rows, &policy, &config, 0.1);
        let (computed, b) = run(&rows, &policy, &Fit { cache: Cache::None, ..config }, 0.1);
        assert_eq!((cached.cache.rows, computed.cache.rows, computed.cache.memory_bytes), (40, 0, 0));
        assert!(cached.cache.memory_bytes > 0);
        assert_eq!(cached.losses, computed.losses, "{policy:?}");
        assert_eq!(cached.evaluations, computed.evaluations, "{policy:?}");
        assert!(bits(&a) == bits(&b), "{policy:?}");
    }
}

#[test]
fn the_cache_changes_next_to_nothing_for_ragged_rows() {
    let rows = rows(40);
    let config = fit_config(15, 1e-3);
    let (cached, a) = run(&rows, &Freeze::Backbone, &config, 0.0);
    let (computed, b) = run(&rows, &Freeze::Backbone, &Fit { cache: Cache::None, ..config }, 0.0);
    assert_eq!((cached.cache.rows, computed.cache.rows), (48, 0));
    for (a, b) in cached.losses.iter().zip(&computed.losses) {
        assert!((a - b).abs() < 1e-6, "{a} {b}");
    }
    let other = weights(&b);
    for (path, values) in weights(&a) {
        let most = values.iter().zip(&other[&path]).fold(0.0_f32, |most, (a, b)| most.max((a - b).abs()));
        assert!(most < 1e-6, "{path} {most}");
    }
}

#[test]
fn plain_stages_give_the_bits_of_autodiff_ones() {
    // The first loss is computed before any update, once with plain stages and once with all under autodiff.
    let rows = equal_rows(16);
    for (dropout, policy) in [(0.0, 1), (0.0, 3)] {
        let (plain, _) = run(&rows, &Freeze::Bottom(policy), &fit_config(1, 1e-3), dropout);
        let (autodiff, _) = run(&rows, &BottomUnderAutodiff(policy), &fit_config(1, 1e-3), dropout);
        assert_eq!(plain.losses, autodiff.losses);
    }
}

#[test]
fn a_cache_that_does_not_fit_is_not_made() {
    let rows = equal_rows(32);
    let small = Fit { cache: Cache::memory().with_memory(100), ..fit_config(8, 1e-3) };
    let (report, _) = run(&rows, &Freeze::Backbone, &small, 0.0);
    assert_eq!((report.cache.rows, report.cache.memory_bytes), (0, 0));
}

#[test]
fn the_cache_follows_a_policy_that_thaws() {
    let rows = equal_rows(32);
    let config = fit_config(12, 1e-3);
    let policy = Freeze::Gradual { epochs: 1 };
    let (cached, a) = run(&rows, &policy, &config, 0.1);
    let (computed, b) = run(&rows, &policy, &Fit { cache: Cache::None, ..config }, 0.1);
    assert_eq!(cached.losses, computed.losses);
    assert!(bits(&a) == bits(&b));
}

#[test]
fn a_seed_gives_the_same_bits_and_another_one_others() {
    let rows = rows(40);
    let config = fit_config(12, 1e-3);
    let (first, a) = run(&rows, &Freeze::Nothing, &config, 0.1);
    let (again, b) = run(&rows, &Freeze::Nothing, &config, 0.1);
    assert_eq!(first.losses, again.losses);
    assert_eq!(first.grad_norms, again.grad_norms);
    assert!(bits(&a) == bits(&b));
    let (other, c) = run(&rows, &Freeze::Nothing, &Fit { seed: 6, ..config }, 0.1);
    assert_ne!(first.losses, other.losses);
    assert!(bits(&a) != bits(&c));
}

#[test]
fn dropout_draws_anew_in_every_step_and_only_while_training() {
    let (rows, config) = (equal_rows(8), Fit { batch_size: 8, ..fit_config(2, 1e-30) });
    let (dropped, _) = run(&rows, &Freeze::Nothing, &config, 0.3);
    let (whole, _) = run(&rows, &Freeze::Nothing, &config, 0.0);
    assert_ne!(dropped.losses[0], dropped.losses[1]);
    assert!((whole.losses[0] - whole.losses[1]).abs() < 1e-6);
    assert_eq!(dropped.evaluations[0].summary.loss, whole.evaluations[0].summary.loss);
}

#[test]
fn two_runs_at_once_are_two_runs_alone() {
    let rows = rows(40);
    let losses = |policy: &Freeze, seed| {
        let config = Fit { seed, ..fit_config(12, 1e-3) };
        run(&rows, policy, &config, 0.1).0.losses
    };
    let alone = [losses(&Freeze::Nothing, 1), losses(&Freeze::Bottom(2), 2)];
    let together = std::thread::scope(|scope| {
        let first = scope.spawn(|| losses(&Freeze::Nothing, 1));
        let second = scope.spawn(|| losses(&Freeze::Bottom(2), 2));
        [first.join().unwrap(), second.join().unwrap()]
    });
    assert_eq!(alone, together);
}
