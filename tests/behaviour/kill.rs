//! A run whose process is killed again and again ends with the same files as one that never was, and so does one whose
//! disk was full for a while. The training process is this test binary itself, in the test `child`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rand::{RngExt, SeedableRng, rngs::ChaCha8Rng};
use rekindle::optim::Averaging;
use rekindle::params::Freeze;
use rekindle::train::{Data, Fit, Keep, Monitor, SaveEvery, StopReason, fit};

use super::support::*;

/// The folder and the kind of run are passed in these.
const FOLDER: &str = "REKINDLE_KILL_FOLDER";
const CASE: &str = "REKINDLE_KILL_CASE";

/// What is run: a policy, whether the weights are averaged, and whether the run stops early.
const CASES: [(&str, bool, bool); 6] = [
    ("nothing", false, false),
    ("bottom:2", false, false),
    ("gradual:2", false, false),
    ("nothing", true, false),
    ("gradual-plateau:1", true, false),
    ("bottom:1", true, true),
];

fn config(folder: &Path, averages: bool, stops: bool) -> Fit {
    Fit {
        epochs: if stops { 40 } else { 12 },
        max_steps: None,
        accumulation: 2,
        eval_every: Some(4),
        averaging: averages.then(|| Averaging::ema(0.8)),
        patience: stops.then_some(3),
        // It reaches 1 and gets no better.
        monitor: if stops { Monitor::Accuracy } else { Monitor::Loss },
        keep: Keep::Best,
        save_every: Some(SaveEvery::Steps(1)),
        folder: Some(folder.into()),
        resume: true,
        bucket: true,
        ..fit_config(1, if stops { 1e-2 } else { 3e-3 })
    }
}

/// Not a test: the process that is killed. It does nothing unless it is told where to run.
#[test]
#[ignore = "run by the tests of this module"]
fn child() {
    let Some(folder) = std::env::var_os(FOLDER) else { return };
    let case: usize = std::env::var(CASE).unwrap().parse().unwrap();
    let (policy, averages, stops) = CASES[case];
    let rows = rows(56);
    let data = Data { train: &rows[..40], validation: &rows[40..] };
    let config = config(Path::new(&folder), averages, stops);
    let policy: Freeze = policy.parse().unwrap();
    match fit(&mut classifier(2, 0.1), &task(), data, &policy, &config, &mut []) {
        Ok(report) => assert_eq!(report.stop == StopReason::NoImprovement, stops),
        Err(error) => {
            eprintln!("fit: {error}");
            std::process::exit(3);
        }
    }
}

fn start(folder: &Path, case: usize) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["kill::child", "--exact", "--ignored", "--nocapture"])
        .env(FOLDER, folder)
        .env(CASE, case.to_string())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

/// Every file of the run by its path in the folder, the time that the run took left out.
fn files(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    fn walk(root: &Path, dir: &Path, found: &mut BTreeMap<PathBuf, Vec<u8>>) {
        for entry in std::fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(root, &path, found);
                continue;
            }
            let bytes = std::fs::read(&path).unwrap();
            let bytes = match path.file_name().unwrap().to_str().unwrap() {
                // It has the hash of the next one.
                "checksums.json" => continue,
                "state.json" => without_time(&bytes),
                _ => bytes,
            };
            found.insert(path.strip_prefix(root).unwrap().into(), bytes);
        }
    }
    let mut found = BTreeMap::new();
    walk(folder, folder, &mut found);
    found
}

/// Wall time differs from run to run, and a run that was resumed has kept other rows.
fn without_time(state: &[u8]) -> Vec<u8> {
    let mut state: serde_json::Value = serde_json::from_slice(state).unwrap();
    let report = state["report"].as_object_mut().unwrap();
    for removed in ["seconds", "cache", "peak_bytes"] {
        assert!(report.remove(removed).is_some(), "{removed}");
    }
    serde_json::to_vec(&state).unwrap()
}

fn check(folder: &Path, whole: &BTreeMap<PathBuf, Vec<u8>>) {
    let found = files(folder);
    let names = |files: &BTreeMap<PathBuf, Vec<u8>>| files.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(&found), names(whole));
    for (path, bytes) in whole {
        assert!(found[path] == *bytes, "{} differs", path.display());
    }
}

/// Whether the process died while it wrote a checkpoint.
fn died_in_a_checkpoint(folder: &Path) -> bool {
    let Ok(entries) = std::fs::read_dir(folder.join("checkpoints")) else { return false };
    entries.into_iter().any(|entry| entry.unwrap().file_name().to_string_lossy().starts_with('.'))
}

/// Kills a run at random moments until `kills` have hit it, over as many runs as that takes.
fn kill(case: usize, kills: usize) -> usize {
    let whole = temporary();
    let begin = Instant::now();
    assert!(start(whole.path(), case).wait().unwrap().success());
    let span = begin.elapsed().as_secs_f64();
    let whole = files(whole.path());
    let mut rng = ChaCha8Rng::seed_from_u64(case as u64);
    let (mut hits, mut in_a_checkpoint) = (0, 0);
    while hits < kills {
        let folder = temporary();
        loop {
            let mut child = start(folder.path(), case);
            if hits < kills {
                std::thread::sleep(Duration::from_secs_f64(rng.random_range(0.0..span / 2.0)));
            }
            if hits < kills && child.try_wait().unwrap().is_none() {
                child.kill().unwrap();
                child.wait().unwrap();
                hits += 1;
                in_a_checkpoint += usize::from(died_in_a_checkpoint(folder.path()));
                continue;
            }
            let output = child.wait_with_output().unwrap();
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            break;
        }
        check(folder.path(), &whole);
    }
    in_a_checkpoint
}

/// `REKINDLE_KILLS` says how many kills there are in all, by default 12.
#[test]
fn killed_at_random_moments_it_ends_with_the_same_files() {
    let kills: usize = std::env::var("REKINDLE_KILLS").map_or(12, |kills| kills.parse().unwrap());
    let share = kills.div_ceil(CASES.len());
    let in_a_checkpoint: usize = (0..CASES.len()).map(|case| kill(case, share)).sum();
    println!("{} kills, {in_a_checkpoint} of them while a checkpoint was written", share * CASES.len());
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_is_an_error_and_leaves_the_checkpoint_before() {
    let (whole, room) = (temporary(), temporary());
    assert!(start(whole.path(), 0).wait().unwrap().success());
    let whole = files(whole.path());
    let mount = |args: &[&str]| Command::new(args[0]).args(&args[1..]).arg(room.path()).status();
    if !mount(&["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs"]).is_ok_and(|status| status.success()) {
        println!("skipped: only root can mount a small file system");
        return;
    }
    let result = std::panic::catch_unwind(|| full_disk(room.path(), &whole));
    assert!(mount(&["umount"]).unwrap().success());
    result.unwrap();
}

#[cfg(target_os = "linux")]
fn full_disk(room: &Path, whole: &BTreeMap<PathBuf, Vec<u8>>) {
    let folder = room.join("run");
    // The run needs 1.3 MB: the disk is full at another place each time, with more done before.
    for kilobytes in [100, 250, 450, 700, 900, 1100] {
        std::fs::write(room.join("filler"), vec![0; (8 << 20) - (kilobytes << 10)]).unwrap();
        let output = start(&folder, 0).wait_with_output().unwrap();
        let message = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(3), "{message}");
        assert!(message.contains("No space left on device") && message.contains("run/"), "{message}");
    }
    std::fs::remove_file(room.join("filler")).unwrap();
    assert!(start(&folder, 0).wait().unwrap().success());
    check(&folder, whole);
}
