//! Large buffers that are used again: a fresh one costs a page fault every 4 KiB, which came to a sixth of a training step.

use burn_std::{AccessError, AccessPolicy, AllocationController, AllocationProperty, Bytes};
use memmap2::MmapMut;
use std::collections::VecDeque;
use std::mem::MaybeUninit;
use std::ops::{Deref, DerefMut};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Bytes from which buffers are kept; what is smaller the allocator serves without asking the system.
const LEAST: usize = 1 << 16;
/// Bytes of one huge page on most processors.
#[cfg(target_os = "linux")]
const HUGE: usize = 2 << 20;

/// What stands in a buffer that no one used before. In this crate's own tests a value that a kernel leaves out shows.
const UNWRITTEN: f32 = if cfg!(test) { f32::NAN } else { 0.0 };

/// While one lives, large buffers that are let go are kept for the next. All scopes together hold no more memory than was in
/// use at one time; with the last of them goes what is unused.
#[derive(Debug)]
pub(crate) struct ReuseScope(());

impl ReuseScope {
    pub(crate) fn new() -> Self {
        kept().scopes += 1;
        Self(())
    }
}

impl Drop for ReuseScope {
    fn drop(&mut self) {
        let mut kept = kept();
        kept.scopes -= 1;
        let last = kept.scopes == 0;
        drop(kept);
        if last {
            let_go();
        }
    }
}

/// Gives back to the system what is unused.
pub(crate) fn let_go() {
    let mut kept = kept();
    let unused = std::mem::take(&mut kept.free);
    (kept.unused, kept.most) = (0, kept.used);
    drop(kept);
    drop(unused);
}

/// Values that a kernel fills.
#[derive(Debug)]
pub(super) enum Buffer {
    /// Of the allocator.
    Small(Vec<f32>),
    /// So many of the values in whole pages.
    Large(Pages, usize),
}

/// `len` values, whatever they are: the caller writes them all.
pub(super) fn blank(len: usize) -> Buffer {
    let bytes = len * size_of::<f32>();
    match (bytes >= LEAST).then(|| Pages::take(bytes)).flatten() {
        Some(pages) => Buffer::Large(pages, len),
        None => Buffer::Small(vec![UNWRITTEN; len]),
    }
}

impl Buffer {
    /// Keeps the first `len` values.
    pub(super) fn truncate(&mut self, len: usize) {
        match self {
            Self::Small(values) => values.truncate(len),
            Self::Large(_, old) => *old = len.min(*old),
        }
    }

    pub(super) fn into_bytes(self) -> Bytes {
        match self {
            Self::Small(values) => Bytes::from_elems(values),
            Self::Large(pages, len) => {
                // SAFETY: all of the pages are initialised, and `len` values fit in them.
                #[allow(unsafe_code)]
                unsafe {
                    Bytes::from_controller(Box::new(pages), len * size_of::<f32>())
                }
            }
        }
    }
}

impl From<Vec<f32>> for Buffer {
    fn from(values: Vec<f32>) -> Self {
        Self::Small(values)
    }
}

impl Deref for Buffer {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        match self {
            Self::Small(values) => values,
            Self::Large(pages, len) => &bytemuck::cast_slice(pages.bytes())[..*len],
        }
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [f32] {
        match self {
            Self::Small(values) => values,
            Self::Large(pages, len) => &mut bytemuck::cast_slice_mut(pages.bytes_mut())[..*len],
        }
    }
}

/// What is free, and how much is in use.
struct Kept {
    /// The longest unused first.
    free: VecDeque<MmapMut>,
    /// Bytes of all that is free.
    unused: usize,
    /// Bytes of all that is in use.
    used: usize,
    /// The most that was in use at one time.
    most: usize,
    scopes: usize,
}

static KEPT: Mutex<Kept> = Mutex::new(Kept { free: VecDeque::new(), unused: 0, used: 0, most: 0, scopes: 0 });

fn kept() -> MutexGuard<'static, Kept> {
    KEPT.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Kept {
    /// The smallest that `bytes` fit into without wasting more than half of it.
    fn fitting(&mut self, bytes: usize) -> Option<MmapMut> {
        let fits = self.free.iter().enumerate().filter(|(_, map)| (bytes..=2 * bytes).contains(&map.len()));
        let (index, _) = fits.min_by_key(|(_, map)| map.len())?;
        let map = self.free.remove(index)?;
        self.unused -= map.len();
        Some(map)
    }

    /// Lets the longest unused go until all together is no more than was in use at one time.
    fn shrink(&mut self) -> Vec<MmapMut> {
        let mut gone = vec![];
        while self.used + self.unused > self.most {
            let Some(map) = self.free.pop_front() else { break };
            self.unused -= map.len();
            gone.push(map);
        }
        gone
    }
}

/// Memory of the system, which goes back to what is kept.
#[derive(Debug)]
pub(super) struct Pages(Option<MmapMut>);

impl Pages {
    /// At least so many bytes; `None` where nothing is kept, or the system has none.
    fn take(bytes: usize) -> Option<Self> {
        let size = round_up(bytes);
        let mut kept = kept();
        if kept.scopes == 0 {
            return None;
        }
        let again = kept.fitting(bytes);
        kept.used += again.as_ref().map_or(size, |map| map.len());
        kept.most = kept.most.max(kept.used);
        let gone = kept.shrink();
        drop(kept);
        drop(gone);
        match again.or_else(|| fresh(size)) {
            Some(map) => Some(Self(Some(map))),
            None => {
                self::kept().used -= size;
                None
            }
        }
    }

    fn bytes(&self) -> &[u8] {
        self.0.as_deref().unwrap_or_default()
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        self.0.as_deref_mut().unwrap_or_default()
    }
}

impl Drop for Pages {
    fn drop(&mut self) {
        let Some(map) = self.0.take() else { return };
        let mut kept = kept();
        kept.used -= map.len();
        if kept.scopes > 0 {
            kept.unused += map.len();
            kept.free.push_back(map);
            let gone = kept.shrink();
            drop(kept);
            drop(gone);
        }
    }
}

/// Four sizes in each doubling, so that batches of other lengths find buffers too.
fn round_up(bytes: usize) -> usize {
    bytes.next_multiple_of((bytes.next_power_of_two() / 8).max(1))
}

fn fresh(size: usize) -> Option<MmapMut> {
    let map = MmapMut::map_anon(size).ok()?;
    #[cfg(target_os = "linux")]
    if size >= HUGE {
        // A hint: without it everything is as before.
        map.advise(memmap2::Advice::HugePage).ok();
    }
    Some(map)
}

impl AllocationController for Pages {
    fn alloc_align(&self) -> usize {
        align_of::<u128>()
    }

    fn property(&self) -> AllocationProperty {
        AllocationProperty::Other
    }

    // SAFETY: the caller writes initialised bytes only, as the trait asks.
    #[allow(unsafe_code)]
    unsafe fn memory_mut(&mut self, _: AccessPolicy) -> Result<&mut [MaybeUninit<u8>], AccessError> {
        let bytes = self.bytes_mut();
        // SAFETY: the same bytes for as long; whoever reads them reads what is initialised.
        Ok(unsafe { std::slice::from_raw_parts_mut(bytes.as_mut_ptr().cast(), bytes.len()) })
    }

    #[allow(unsafe_code)]
    fn memory(&self, _: AccessPolicy) -> Result<&[MaybeUninit<u8>], AccessError> {
        let bytes = self.bytes();
        // SAFETY: the same bytes for as long.
        Ok(unsafe { std::slice::from_raw_parts(bytes.as_ptr().cast(), bytes.len()) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept_of(sizes: &[usize]) -> Kept {
        let free: VecDeque<_> = sizes.iter().map(|size| MmapMut::map_anon(*size).expect("memory")).collect();
        Kept { free, unused: sizes.iter().sum(), used: 0, most: 0, scopes: 1 }
    }

    #[test]
    fn the_smallest_that_fits_is_taken_and_half_of_none_is_wasted() {
        let mut kept = kept_of(&[1 << 20, 5 << 16, 1 << 18]);
        assert_eq!(kept.fitting(1 << 17).map(|map| map.len()), Some(1 << 18));
        assert_eq!(kept.fitting(1 << 18).map(|map| map.len()), Some(5 << 16));
        assert!(kept.fitting(1 << 18).is_none() && kept.fitting((1 << 20) + 1).is_none());
        assert_eq!(kept.unused, 1 << 20);
    }

    #[test]
    fn the_longest_unused_goes_when_there_is_more_than_was_ever_in_use() {
        let mut kept = kept_of(&[3 << 16, 1 << 16, 2 << 16]);
        (kept.used, kept.most) = (1 << 16, 4 << 16);
        let gone: Vec<_> = kept.shrink().iter().map(|map| map.len()).collect();
        assert_eq!(gone, [3 << 16]);
        assert_eq!(kept.used + kept.unused, kept.most);
    }

    #[test]
    fn a_buffer_holds_its_values_in_any_scope() {
        let make = |len| {
            let mut buffer = blank(len);
            buffer.iter_mut().enumerate().for_each(|(index, value)| *value = index as f32);
            buffer.truncate(len - 1);
            let bytes = buffer.into_bytes();
            assert_eq!(bytes.len(), 4 * (len - 1));
            bytemuck::cast_slice::<u8, f32>(&bytes).iter().enumerate().all(|(index, value)| *value == index as f32)
        };
        assert!(make(40_000) && make(3));
        let scope = ReuseScope::new();
        assert!(make(40_000) && make(39_000) && make(700_000) && make(3));
        let outlives = blank(40_000);
        drop(scope);
        assert_eq!(outlives.len(), 40_000);
    }

    #[test]
    fn sizes_waste_a_quarter_at_most() {
        for bytes in [LEAST, LEAST + 4, 100_000, 5 << 20] {
            let size = round_up(bytes);
            assert!(size >= bytes && size <= bytes + bytes / 4 && size.is_multiple_of(4096), "{bytes} {size}");
        }
    }
}
