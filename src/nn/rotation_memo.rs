use super::{Rotary, Rotation};
use burn::tensor::Device;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Rotations that are kept: more than the kinds of layers of a network and a few lengths.
const KEPT: usize = 16;
/// Values that they may have together, but that the last one is always kept: 16 MiB.
const VALUES: usize = 1 << 22;

/// What all networks of the process share.
pub(super) static MEMO: Memo = Memo { made: Mutex::new(Vec::new()) };

/// Rotations that were made, the one that was asked for last at the end: the layers of a forward pass share one.
pub(super) struct Memo {
    made: Mutex<Vec<Made>>,
}

struct Made {
    rotary: Rotary,
    seq: usize,
    device: Device,
    rotation: Rotation,
}

impl Memo {
    /// The rotation of `seq` places, made if nobody asked for it lately.
    pub(super) fn get(
        &self,
        rotary: &Rotary,
        seq: usize,
        device: &Device,
        make: impl FnOnce() -> Rotation,
    ) -> Rotation {
        let known = |made: &Made| made.seq == seq && made.rotary == *rotary && made.device == *device;
        if let Some(rotation) = find(self.lock(), known) {
            return rotation;
        }
        let rotation = make();
        let mut made = self.lock();
        made.push(Made { rotary: rotary.clone(), seq, device: device.clone(), rotation: rotation.clone() });
        while made.len() > 1 && (made.len() > KEPT || made.iter().map(Made::values).sum::<usize>() > VALUES) {
            made.remove(0);
        }
        rotation
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Made>> {
        self.made.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn find(mut made: MutexGuard<'_, Vec<Made>>, known: impl Fn(&Made) -> bool) -> Option<Rotation> {
    let at = made.iter().position(known)?;
    let found = made.remove(at);
    let rotation = found.rotation.clone();
    made.push(found);
    Some(rotation)
}

impl Made {
    fn values(&self) -> usize {
        self.seq.saturating_mul(self.rotary.turned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::{RopeScaling, test_device};

    #[test]
    fn what_was_asked_for_lately_is_not_made_again_and_little_is_kept() {
        let (memo, device) = (Memo { made: Mutex::default() }, test_device());
        let rotary = |theta| Rotary::new(theta, 4, RopeScaling::None);
        let is_made = |theta, seq| {
            let mut is_made = false;
            memo.get(&rotary(theta), seq, &device, || {
                is_made = true;
                rotary(theta).make(1, &device)
            });
            is_made
        };
        assert!(is_made(10.0, 5) && is_made(10.0, 6) && is_made(11.0, 5));
        assert!(!is_made(10.0, 5) && !is_made(10.0, 6) && !is_made(11.0, 5));
        (0..KEPT - 1).for_each(|seq| assert!(is_made(10.0, 100 + seq)));
        // The last one that was asked for before is still there.
        assert!(!is_made(11.0, 5) && is_made(10.0, 5));
        assert!(is_made(12.0, VALUES) && !is_made(12.0, VALUES));
        assert_eq!(memo.lock().len(), 1);
    }
}
