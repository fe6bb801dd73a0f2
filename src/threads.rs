//! Which threads compute.

use rayon::ThreadPoolBuilder;
use std::thread::available_parallelism;

/// Makes the calling thread one of those that compute, for the rest of the program: call it first in `main`. Says whether
/// it is one now.
///
/// An operation that is called from elsewhere goes to rayon's threads, and its caller sleeps until they are done. That
/// wakes two threads for each of the hundreds of operations of a step, which takes about a twentieth of its time.
/// Results do not depend on it.
///
/// It sets up rayon's global pool with as many threads as it has otherwise, this one included, so it changes nothing where
/// that pool exists already, or where it has one thread only. A thread that ends while others compute must not call it.
pub fn compute_on_this_thread() -> bool {
    let asked = std::env::var("RAYON_NUM_THREADS").ok().and_then(|count| count.parse().ok()).filter(|count| *count > 0);
    let count: usize = asked.unwrap_or_else(|| available_parallelism().map_or(1, Into::into));
    count > 1 && ThreadPoolBuilder::new().num_threads(count).use_current_thread().build_global().is_ok()
}
