//! What the system says about memory. Linux alone gives figures; elsewhere there are none.

use std::fs;

/// Bytes of memory that this process holds.
pub(super) fn resident() -> Option<usize> {
    own("VmRSS:")
}

/// The most that it has held since [`restart_peak`], or since it began.
pub(super) fn peak() -> Option<usize> {
    own("VmHWM:")
}

/// Makes [`peak`] count from now on. False where the system does not permit it.
pub(super) fn restart_peak() -> bool {
    cfg!(target_os = "linux") && fs::write("/proc/self/clear_refs", "5").is_ok()
}

/// Gives memory that was freed back to the system, so that [`resident`] counts what is in use; of the allocator's only
/// glibc's.
pub(super) fn release() {
    #[cfg(feature = "flex")]
    crate::kernel::let_go();
    // No crate has a safe form; the call takes no pointer and may come at any time.
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    #[allow(unsafe_code)]
    unsafe {
        libc::malloc_trim(0);
    }
}

/// Bytes that the system can still give this process: what it calls available, or what the process's control group has
/// left where that is less.
pub(super) fn available() -> Option<usize> {
    let system = kilobytes(&fs::read_to_string("/proc/meminfo").ok()?, "MemAvailable:")?;
    let left = |(limit, used): &(&str, &str)| -> Option<usize> {
        let read = |file| fs::read_to_string(file).ok()?.trim().parse::<usize>().ok();
        Some(read(*limit)?.saturating_sub(read(*used)?))
    };
    Some(GROUPS.iter().filter_map(left).fold(system, usize::min))
}

/// Limit and use of a control group, versions 2 and 1. A limit that is a word, or none, limits nothing.
const GROUPS: [(&str, &str); 2] = [
    ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"),
    ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory/memory.usage_in_bytes"),
];

fn own(field: &str) -> Option<usize> {
    kilobytes(&fs::read_to_string("/proc/self/status").ok()?, field)
}

fn kilobytes(text: &str, field: &str) -> Option<usize> {
    let line = text.lines().find_map(|line| line.strip_prefix(field))?;
    Some(1024 * line.trim().strip_suffix("kB")?.trim().parse::<usize>().ok()?)
}

/// The most memory that the process holds while a run goes on.
#[derive(Debug)]
pub(super) struct PeakMemory {
    restarted: bool,
    before: Option<usize>,
}

impl PeakMemory {
    /// Counts from now on.
    pub(super) fn start() -> Self {
        release();
        Self { restarted: restart_peak(), before: peak() }
    }

    /// Bytes; `None` where the system does not tell, or tells only of a higher peak before.
    pub(super) fn bytes(&self) -> Option<usize> {
        peak().filter(|peak| self.restarted || self.before.is_some_and(|before| *peak > before))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_read_in_bytes() {
        let text = "VmPeak:\t 5 kB\nVmHWM:\t    1944 kB\nThreads:\t1\n";
        assert_eq!(kilobytes(text, "VmHWM:"), Some(1944 * 1024));
        assert_eq!((kilobytes(text, "VmRSS:"), kilobytes(text, "Threads:")), (None, None));
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn a_large_vector_shows() {
        let (before, free) = (resident().unwrap(), available().unwrap());
        assert!(before > 0 && free > 0 && peak().unwrap() >= before);
        let large = vec![1_u8; 64 << 20];
        assert!(resident().unwrap() > before + (32 << 20), "{before}");
        assert!(large.iter().all(|byte| *byte == 1));
    }
}
