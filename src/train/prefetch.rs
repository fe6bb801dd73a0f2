//! Batches made ahead, by a thread of their own, while the steps before theirs run.

use crate::data::DataError;
use crate::objective::{Batch, Draws, Objective};
use burn::tensor::Device;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread;

type Result<I, T> = std::result::Result<Batch<I, T>, DataError>;

/// The batch of the examples that `draws` are for.
pub(super) fn make<O: Objective>(
    objective: &O,
    examples: &[O::Example],
    draws: &Draws,
    device: &Device,
) -> Result<O::Input, O::Targets> {
    let chosen: Vec<_> = draws.examples().iter().map(|index| &examples[*index]).collect();
    objective.batch(&chosen, draws, device)
}

/// Batches that another thread makes, in the order in which they will be asked for.
#[derive(Debug)]
pub(super) struct Ahead<I, T>(Receiver<Made<I, T>>);

/// A batch, or why there is none: an error, or what the objective panicked with.
#[derive(Debug)]
struct Made<I, T> {
    draws: Draws,
    batch: thread::Result<Result<I, T>>,
}

impl<I, T> Ahead<I, T> {
    /// Waits for the next batch, which `draws` must be for; `None` where the thread does not make it. The objective's panic
    /// goes on here, as if it had been asked here.
    pub(super) fn next(&self, draws: &Draws) -> Option<Result<I, T>> {
        let made = self.0.recv().ok()?;
        match made.batch {
            Ok(batch) => (made.draws == *draws).then_some(batch),
            Err(panic) => resume_unwind(panic),
        }
    }
}

/// Does `work`, which has batches made for it by a thread, `ahead` of them at most; with 0 it has none, and makes them
/// itself. The thread makes the batches for `order` one after the other, up to the first that fails, and ends with `work`.
pub(super) fn beside<I: Send, T: Send, R>(
    ahead: usize,
    order: impl Iterator<Item = Draws> + Send,
    make: impl Fn(&Draws) -> Result<I, T> + Send,
    work: impl FnOnce(Option<&Ahead<I, T>>) -> R,
) -> R {
    // One more is in the thread's hands.
    let Some(waiting) = ahead.checked_sub(1) else { return work(None) };
    thread::scope(|scope| {
        let (sender, receiver) = sync_channel(waiting);
        let send_all = move || {
            for draws in order {
                let batch = catch_unwind(AssertUnwindSafe(|| make(&draws)));
                let failed = !matches!(batch, Ok(Ok(_)));
                if sender.send(Made { draws, batch }).is_err() || failed {
                    return;
                }
            }
        };
        // Where there is no thread, nothing arrives, and `work` makes its batches itself.
        thread::Builder::new().name("rekindle batches".into()).spawn_scoped(scope, send_all).ok();
        // It goes before the scope waits for the thread, also when `work` panics; the thread then has nowhere to send to.
        let made = Ahead(receiver);
        work(Some(&made))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    fn order(count: usize) -> impl Iterator<Item = Draws> + Send {
        (0..count).map(draws)
    }

    fn draws(index: usize) -> Draws {
        Draws::new(1, 0, &[index])
    }

    fn number(draws: &Draws) -> Result<usize, ()> {
        Ok(Batch { input: draws.example(0), targets: () })
    }

    #[test]
    fn batches_arrive_in_order_and_then_no_more() {
        for ahead in [1, 2, 7] {
            beside(ahead, order(5), number, |made| {
                let made = made.unwrap();
                for index in 0..5 {
                    assert_eq!(made.next(&draws(index)).unwrap().unwrap().input, index);
                }
                assert!(made.next(&draws(5)).is_none());
            });
        }
        beside(0, order(5), number, |made| assert!(made.is_none()));
    }

    #[test]
    fn no_more_are_made_than_asked_for() {
        let count = AtomicUsize::new(0);
        let make = |draws: &Draws| {
            count.fetch_add(1, Ordering::SeqCst);
            number(draws)
        };
        beside(3, order(1000), make, |made| made.unwrap().next(&draws(0)).unwrap().unwrap());
        assert!((1..=4).contains(&count.load(Ordering::SeqCst)), "{count:?}");
    }

    #[test]
    fn a_batch_of_other_rows_is_not_taken() {
        beside(2, order(3), number, |made| assert!(made.unwrap().next(&draws(1)).is_none()));
    }

    #[test]
    fn an_error_and_a_panic_come_with_their_batch() {
        let fails = |draws: &Draws| match draws.example(0) {
            2 => Err(DataError::NoLabel { index: 2 }),
            _ => number(draws),
        };
        beside(4, order(9), fails, |made| {
            let made = made.unwrap();
            assert!([0, 1].iter().all(|index| made.next(&draws(*index)).unwrap().is_ok()));
            assert!(matches!(made.next(&draws(2)), Some(Err(DataError::NoLabel { index: 2 }))));
            assert!(made.next(&draws(3)).is_none());
        });
        let panics = |draws: &Draws| if draws.example(0) == 1 { panic!("row 1") } else { number(draws) };
        let seen = AtomicUsize::new(0);
        let run = || {
            beside(4, order(9), panics, |made| {
                (0..9).for_each(|index| {
                    made.unwrap().next(&draws(index)).unwrap().unwrap();
                    seen.fetch_add(1, Ordering::SeqCst);
                });
            });
        };
        let panic = catch_unwind(AssertUnwindSafe(run)).unwrap_err();
        assert_eq!((panic.downcast_ref::<&str>(), seen.into_inner()), (Some(&"row 1"), 1));
    }

    #[test]
    fn the_thread_ends_when_the_work_panics() {
        let work = |_: Option<&Ahead<usize, ()>>| panic!("work");
        let panic = catch_unwind(|| beside(1, order(usize::MAX), number, work)).unwrap_err();
        assert_eq!(panic.downcast_ref::<&str>(), Some(&"work"));
    }
}
