//! Damaged, full, shared and unfaithful cache folders: nothing is believed that is not as it was written.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use burn::module::Module;
use burn::tensor::Tensor;
use rekindle::backbone::{Backbone, Bert, Pooling, Stages, TextFeatures, TextInput, TextState};
use rekindle::cache::{Cache, CacheReport};
use rekindle::head::Classifier;
use rekindle::params::Freeze;
use rekindle::train::{Control, Data, Event, Fit, Observer, ObserverError, Report, fit};
use rekindle::{Error, Model};

use super::cache::{distinct, in_folder, run, same};
use super::support::*;

fn segments(folder: &Path) -> Vec<PathBuf> {
    let prefixes = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let files = prefixes.flat_map(|prefix| std::fs::read_dir(prefix).unwrap().map(|entry| entry.unwrap().path()));
    let mut segments: Vec<_> = files.filter(|path| path.extension().is_some_and(|name| name == "segment")).collect();
    segments.sort();
    segments
}

#[test]
fn a_damaged_or_cut_file_is_computed_again() {
    let folder = temporary();
    let config = in_folder(folder.path());
    let without = run(&Freeze::Backbone, &Fit { cache: Cache::None, ..config.clone() });
    run(&Freeze::Backbone, &config);
    // The training set's, which is written first.
    let [path, other] = &segments(folder.path())[..] else { panic!("two segments") };
    let other_bytes = std::fs::read(other).unwrap();
    let whole = std::fs::read(path).unwrap();
    let len = whole.len();
    let (mut places, mut counts) =
        (vec![0, 7, 8, 20, 39, 40, 44, len - 1, len - 8, len - 9, len - 20, len - 60, len - 200], vec![]);
    places.extend((1..12).map(|part| part * len / 12));
    let flipped = places.iter().map(|place| {
        let mut bytes = whole.clone();
        bytes[*place] ^= 0x10;
        bytes
    });
    let cut = [0, 1, 47, 90, len / 3, len - 100, len - 1].map(|len| whole[..len].to_vec());
    let moved = [whole[..1000].to_vec(), whole[1100..].to_vec()].concat();
    for bytes in flipped.chain(cut).chain([moved, [&whole[..], b"more"].concat()]) {
        segments(folder.path()).iter().for_each(|path| std::fs::remove_file(path).unwrap());
        std::fs::write(path, bytes).unwrap();
        std::fs::write(other, &other_bytes).unwrap();
        let again = run(&Freeze::Backbone, &config);
        same(&again, &without);
        let CacheReport { misses, damaged, rows, .. } = again.0.cache;
        assert!(damaged > 0 && misses > 0 && rows == 56, "{:?}", again.0.cache);
        counts.push(misses);
        // It was written again.
        let healed = run(&Freeze::Backbone, &config);
        same(&healed, &without);
        assert_eq!((healed.0.cache.misses, healed.0.cache.damaged), (0, 0));
    }
    // Damage to one record costs that record alone, and damage to the index the file.
    assert!(counts.contains(&1) && counts.iter().any(|count| *count > distinct() / 2), "{counts:?}");
}

/// Damages every segment after a step.
struct Damager(PathBuf, usize);

impl Observer for Damager {
    fn on(&mut self, event: &Event<'_>) -> Result<Control, ObserverError> {
        if matches!(event, Event::Step(info) if info.step == self.1) {
            for path in segments(&self.0) {
                let mut bytes = std::fs::read(&path).unwrap();
                bytes[40..].iter_mut().step_by(64).for_each(|byte| *byte ^= 1);
                // In place: the run has the file open.
                use std::io::Write;
                std::fs::OpenOptions::new().write(true).open(&path).unwrap().write_all(&bytes).unwrap();
            }
        }
        Ok(Control::Continue)
    }
}

#[test]
fn damage_during_a_run_is_not_believed() {
    let folder = temporary();
    let config = Fit { cache: Cache::folder(folder.path()).with_memory(0), ..in_folder(folder.path()) };
    let without = run(&Freeze::Bottom(2), &Fit { cache: Cache::None, ..config.clone() });
    let (mut model, rows) = (classifier(3, 0.1), rows(56));
    let data = Data { train: &rows[..40], validation: &rows[40..] };
    let mut damager = Damager(folder.path().into(), 3);
    let report = fit(&mut model, &task(), data, &Freeze::Bottom(2), &config, &mut [&mut damager]).unwrap();
    assert!(report.cache.damaged > 30, "{:?}", report.cache);
    same(&(report, model), &without);
}

#[test]
fn runs_at_once_share_a_folder() {
    let folder = temporary();
    let config = in_folder(folder.path());
    let without = run(&Freeze::Backbone, &Fit { cache: Cache::None, ..config.clone() });
    let together: Vec<_> = std::thread::scope(|scope| {
        let runs: Vec<_> = (0..4).map(|_| scope.spawn(|| run(&Freeze::Backbone, &config))).collect();
        runs.into_iter().map(|run| run.join().unwrap()).collect()
    });
    for one in &together {
        same(one, &without);
        assert_eq!((one.0.cache.damaged, &one.0.cache.write_error), (0, &None));
    }
    let after = run(&Freeze::Backbone, &config);
    assert_eq!((after.0.cache.hits, after.0.cache.misses), (56, 0));
    same(&after, &without);
}

#[test]
fn what_a_killed_run_left_is_removed_and_what_one_writes_is_not() {
    let folder = temporary();
    let config = in_folder(folder.path());
    run(&Freeze::Backbone, &config);
    let prefix = segments(folder.path())[0].parent().unwrap().to_path_buf();
    let part = |name: &str, age| {
        let path = prefix.join(format!(".part.segment.{name}"));
        let file = std::fs::File::create(&path).unwrap();
        file.set_modified(std::time::SystemTime::now() - std::time::Duration::from_secs(age)).unwrap();
        (path, file)
    };
    let ((old, _), (young, _), (locked, lock)) = (part("old", 100), part("young", 1), part("locked", 100));
    lock.lock().unwrap();
    assert_eq!(run(&Freeze::Backbone, &config).0.cache.misses, 0);
    assert_eq!([old.exists(), young.exists(), locked.exists()], [false, true, true]);
}

#[test]
fn a_folder_that_cannot_be_made_is_an_error() {
    let folder = temporary();
    let path = folder.path().join("file");
    std::fs::write(&path, "a file").unwrap();
    let config = in_folder(&path);
    let rows = rows(40);
    let data = Data { train: &rows, validation: &[] };
    let error = fit(&mut classifier(2, 0.0), &task(), data, &Freeze::Backbone, &config, &mut []).unwrap_err();
    assert!(matches!(error, Error::Cache(_)) && error.to_string().contains("file"), "{error}");
}

/// Notes why nothing more is written.
#[derive(Default)]
struct Broken(Vec<String>);

impl Observer for Broken {
    fn on(&mut self, event: &Event<'_>) -> Result<Control, ObserverError> {
        if let Event::CacheBroken { error } = event {
            self.0.push(error.to_string());
        }
        Ok(Control::Continue)
    }
}

fn told(config: &Fit) -> (Vec<String>, (Report, Model<Bert, Classifier>)) {
    let (mut model, rows, mut broken) = (classifier(3, 0.1), rows(56), Broken::default());
    let data = Data { train: &rows[..40], validation: &rows[40..] };
    let report = fit(&mut model, &task(), data, &Freeze::Backbone, config, &mut [&mut broken]).unwrap();
    (broken.0, (report, model))
}

/// A small file system in memory, where one may be mounted.
struct Tmpfs(tempfile::TempDir);

impl Tmpfs {
    fn mount(size: &str) -> Option<Self> {
        let folder = temporary();
        let mut command = std::process::Command::new("mount");
        command.args(["-t", "tmpfs", "-o", &format!("size={size}"), "none"]).arg(folder.path());
        command.output().ok()?.status.success().then_some(Self(folder))
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        std::process::Command::new("umount").arg("-l").arg(self.0.path()).output().ok();
    }
}

#[test]
fn a_full_disk_is_told_and_the_run_goes_on() {
    let Some(disk) = Tmpfs::mount("16k") else { return eprintln!("skipped: no tmpfs can be mounted here") };
    let config = in_folder(disk.0.path());
    let without = run(&Freeze::Backbone, &Fit { cache: Cache::None, ..config.clone() });
    for memory in [0, 20_000, 1 << 30] {
        let cache = config.cache.clone().with_memory(memory);
        let (said, with) = told(&Fit { cache, ..config.clone() });
        same(&with, &without);
        assert_eq!(said.len(), 1);
        assert!(said[0].contains("free space") && with.0.cache.write_error.as_ref() == said.first(), "{said:?}");
        assert_eq!((segments(disk.0.path()).len(), with.0.cache.disk_bytes, with.0.cache.damaged), (0, 0, 0));
        let kept = with.0.cache.rows;
        assert!(if memory == 0 { kept == 0 } else { kept > 10 && (kept == 56) == (memory > 20_000) }, "{kept}");
    }
}

#[cfg(unix)]
#[test]
fn a_folder_that_cannot_be_written_to_is_still_read() {
    let folder = temporary();
    let config = in_folder(folder.path());
    let rows = rows(56);
    let few = Data { train: &rows[..20], validation: &[] };
    fit(&mut classifier(3, 0.1), &task(), few, &Freeze::Backbone, &config, &mut []).unwrap();
    let prefix = segments(folder.path())[0].parent().unwrap().to_path_buf();
    let permit = |mode| {
        use std::os::unix::fs::PermissionsExt;
        std::fs::set_permissions(&prefix, std::fs::Permissions::from_mode(mode)).unwrap();
    };
    permit(0o555);
    let writable = std::fs::write(prefix.join("probe"), "").is_ok();
    if writable {
        permit(0o755);
        return eprintln!("skipped: root writes everywhere");
    }
    let (said, with) = told(&config);
    permit(0o755);
    assert_eq!(said.len(), 1);
    assert!(with.0.cache.hits >= 20 && with.0.cache.misses > 0, "{:?}", with.0.cache);
    same(&with, &run(&Freeze::Backbone, &Fit { cache: Cache::None, ..config }));
}

/// What the code of [`Changing`] computes with; no setting of the module.
static POWER: AtomicU32 = AtomicU32::new(1);

/// A backbone whose code changes between runs.
#[derive(Module, Debug)]
struct Changing {
    bert: Bert,
}

impl Backbone for Changing {
    type Input = TextInput;
    type State = TextState;
    type Features = TextFeatures;

    fn stages(&self) -> Stages {
        let stages = Stages::new().stage("bert.embeddings");
        stages.stages("bert.encoder.layer", 2)
    }
    fn embed(&self, input: TextInput) -> TextState {
        let state = self.bert.embed(input);
        let hidden: Tensor<3> = state.hidden.powi_scalar(POWER.load(Ordering::SeqCst) as i32);
        TextState { hidden, ..state }
    }
    fn stage(&self, index: usize, state: TextState) -> TextState {
        self.bert.stage(index, state)
    }
    fn finish(&self, state: TextState) -> TextFeatures {
        self.bert.finish(state)
    }
}

#[test]
fn states_that_the_code_no_longer_gives_are_void() {
    let (folder, rows) = (temporary(), rows(56));
    let config = in_folder(folder.path());
    let run = |config: &Fit| {
        let body = Changing { bert: bert(2, 0.0, Pooling::Mean) };
        let mut model = Model::new(body, Classifier::new(32, 4, 7, &device()));
        let data = Data { train: &rows[..40], validation: &rows[40..] };
        fit(&mut model, &task(), data, &Freeze::Backbone, config, &mut []).unwrap()
    };
    run(&config);
    assert_eq!(run(&config).cache.misses, 0);
    POWER.store(2, Ordering::SeqCst);
    let changed = run(&config);
    assert_eq!((changed.cache.misses, changed.cache.damaged), (distinct(), distinct()));
    assert_eq!(changed.losses, run(&Fit { cache: Cache::None, ..config.clone() }).losses);
    assert_eq!(run(&config).cache.misses, 0);
}
