//! The cache of `huggingface_hub`, and downloads into it from a hub of this test.

use std::fs;
use std::path::Path;

use rekindle::checkpoint::hub::{Cache, HubError};

use super::temporary;

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// A cache as Python's hub leaves it.
fn cache(root: &Path) -> Cache {
    let folder = root.join("models--org--name");
    fs::create_dir_all(folder.join("refs/refs/pr")).expect("made");
    fs::create_dir_all(folder.join("snapshots").join(COMMIT)).expect("made");
    for revision in ["main", "refs/pr/1"] {
        fs::write(folder.join("refs").join(revision), COMMIT).expect("written");
    }
    Cache::at(root)
}

#[test]
fn a_repository_is_found_by_branch_and_commit() {
    let dir = temporary();
    let cache = cache(dir.path());
    for revision in ["main", "refs/pr/1", COMMIT] {
        assert!(cache.snapshot("org/name", revision).expect("there").ends_with(COMMIT));
    }
}

#[test]
fn what_is_not_there_is_named() {
    let dir = temporary();
    let cache = cache(dir.path());
    for (repository, revision) in
        [("org/name", "v2"), ("org/other", "main"), ("name", "main"), ("org/name", &COMMIT.replace('0', "f"))]
    {
        let error = cache.snapshot(repository, revision).expect_err("absent");
        assert!(matches!(error, HubError::NotCached { .. }));
        let text = error.to_string();
        assert!(text.contains(repository) && text.contains(revision) && text.contains("hf download"), "{text}");
    }
    assert!(matches!(cache.snapshot("../name", "main"), Err(HubError::BadRepository { .. })));
    assert!(matches!(cache.snapshot("org/name", "../main"), Err(HubError::BadRevision { .. })));
    fs::write(dir.path().join("models--org--name/refs/main"), "../../../etc").expect("written");
    assert!(matches!(cache.snapshot("org/name", "main"), Err(HubError::BadReference { .. })));
}

#[cfg(feature = "hub")]
mod download {
    use super::*;

    use std::collections::HashMap;
    use std::io::{BufRead, BufReader, Write};
    use std::net::{TcpListener, TcpStream};
    use std::sync::{Arc, Mutex};

    use rekindle::checkpoint::hub::Hub;
    use rekindle::checkpoint::{Tensors, save_tensors};

    /// An answer: status, headers, body.
    type Answer = (u16, Vec<(&'static str, String)>, Vec<u8>);

    /// A hub on this machine, for as long as the test runs, and the requests that it got.
    struct Server {
        address: String,
        requests: Arc<Mutex<Vec<String>>>,
    }

    impl Server {
        fn new(answers: HashMap<String, Answer>) -> Self {
            let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
            let address = format!("http://{}", listener.local_addr().expect("an address"));
            let requests = Arc::new(Mutex::new(vec![]));
            let (log, here) = (requests.clone(), address.clone());
            std::thread::spawn(move || {
                for stream in listener.incoming().flatten() {
                    answer(stream, &answers, &log, &here);
                }
            });
            Self { address, requests }
        }

        fn hub(&self, root: &Path) -> Hub {
            Hub::at(&self.address, Some("secret".into()), Cache::at(root))
        }

        fn taken(&self) -> Vec<String> {
            std::mem::take(&mut self.requests.lock().expect("not poisoned"))
        }
    }

    fn answer(mut stream: TcpStream, answers: &HashMap<String, Answer>, log: &Mutex<Vec<String>>, address: &str) {
        let mut lines = BufReader::new(stream.try_clone().expect("a stream")).lines().map_while(Result::ok);
        let Some(first) = lines.next() else { return };
        let headers: Vec<_> = lines.take_while(|line| !line.is_empty()).collect();
        assert!(
            headers.iter().any(|line| line.eq_ignore_ascii_case("authorization: Bearer secret"))
                || first.contains("/cdn/")
        );
        let mut words = first.split(' ');
        let (method, path) = (words.next().unwrap_or(""), words.next().unwrap_or(""));
        log.lock().expect("not poisoned").push(format!("{method} {path}"));
        let missing = (404, vec![], vec![]);
        let (status, headers, body) = answers.get(path).unwrap_or(&missing);
        let told = headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("content-length"));
        let length = if told { String::new() } else { format!("Content-Length: {}\r\n", body.len()) };
        let lines = headers.iter().map(|(name, value)| format!("{name}: {}\r\n", value.replace("ADDRESS", address)));
        let headers: String = lines.collect();
        let head = format!("HTTP/1.1 {status} x\r\n{headers}{length}Connection: close\r\n\r\n");
        let body = if method == "HEAD" { &[][..] } else { body };
        let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body));
    }

    fn listing(files: &[&str]) -> Answer {
        let siblings: Vec<_> = files.iter().map(|file| serde_json::json!({ "rfilename": file })).collect();
        let text = serde_json::json!({ "sha": COMMIT, "siblings": siblings, "private": false }).to_string();
        (200, vec![], text.into_bytes())
    }

    fn resolved(file: &str) -> String {
        format!("/org/name/resolve/{COMMIT}/{file}")
    }

    fn hash(bytes: &[u8]) -> String {
        use sha2::Digest;
        sha2::Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
    }

    fn weights() -> Vec<u8> {
        let dir = temporary();
        let path = dir.path().join("a");
        save_tensors(&path, [("a".to_string(), vec![2], vec![1.0, 2.0])], &[]).expect("saved");
        fs::read(path).expect("there")
    }

    const LIST: &str = "/api/models/org/name/revision/main";

    /// A hub with a model in one large file, which lies on another path as on another host.
    fn answers(weights: &[u8]) -> HashMap<String, Answer> {
        let small = |text: &str| {
            (200, vec![("ETag", "\"7c3b6f1d0c1f4b1e8f4a9d3b2c1a0f9e8d7c6b5a\"".into())], text.as_bytes().to_vec())
        };
        let files = ["README.md", "config.json", "model.safetensors", "pytorch_model.bin", "onnx/model.json"];
        let moved = vec![
            // The test's server puts its own address in.
            ("Location", "ADDRESS/cdn/blob".into()),
            ("X-Linked-Etag", format!("\"{}\"", hash(weights))),
            ("X-Linked-Size", weights.len().to_string()),
        ];
        HashMap::from([
            (LIST.into(), listing(&files)),
            (resolved("config.json"), small("{\"model_type\": \"bert\"}")),
            (resolved("model.safetensors"), (302, moved, vec![])),
            ("/cdn/blob".into(), (200, vec![("ETag", format!("\"{}\"", hash(weights)))], weights.to_vec())),
        ])
    }

    #[test]
    fn a_model_comes_into_the_layout_of_python() {
        let (dir, weights) = (temporary(), weights());
        let server = Server::new(answers(&weights));
        let hub = server.hub(dir.path());
        let snapshot = hub.model("org/name", "main").expect("downloaded");
        let folder = dir.path().join("models--org--name");
        assert_eq!(snapshot, folder.join("snapshots").join(COMMIT));
        assert_eq!(fs::read_to_string(folder.join("refs/main")).expect("there"), COMMIT);
        assert_eq!(fs::read(folder.join("blobs").join(hash(&weights))).expect("there"), weights);
        let entries = |path: &str| fs::read_dir(folder.join(path)).expect("a folder").count();
        assert_eq!((entries("blobs"), fs::read_dir(&snapshot).expect("a folder").count()), (2, 2));
        #[cfg(unix)]
        assert_eq!(
            fs::read_link(snapshot.join("model.safetensors")).expect("a link"),
            Path::new("../../blobs").join(hash(&weights))
        );
        assert_eq!(Tensors::open_folder(&snapshot).expect("sound").f32("a").expect("there"), [1.0, 2.0]);
        assert_eq!(Cache::at(dir.path()).snapshot("org/name", "main").expect("there"), snapshot);
        let asked = server.taken();
        assert!(asked.iter().all(|line| !line.contains("README") && !line.contains("pytorch_model")), "{asked:?}");
        // A second time nothing but the list is asked for.
        hub.model("org/name", "main").expect("there");
        assert_eq!(server.taken(), [format!("GET {LIST}")]);
        // A blob that is there is linked, not loaded again.
        fs::remove_file(snapshot.join("model.safetensors")).expect("removed");
        hub.model("org/name", "main").expect("there");
        assert_eq!(server.taken().len(), 2);
    }

    #[test]
    fn shards_and_named_files_are_loaded() {
        let (dir, weights) = (temporary(), weights());
        let mut answers = answers(&weights);
        let shard = "model-00001-of-00001.safetensors";
        let index = serde_json::json!({ "weight_map": { "a": shard } }).to_string().into_bytes();
        let index_name = "model.safetensors.index.json";
        answers.insert(LIST.into(), listing(&["config.json", index_name, shard, "other.safetensors", "sub/a b.txt"]));
        answers.insert(resolved(index_name), (200, vec![("ETag", "\"1\"".into())], index));
        let moved = answers[&resolved("model.safetensors")].clone();
        answers.insert(resolved(shard), moved);
        answers.insert(resolved("sub/a%20b.txt"), (200, vec![("ETag", "W/\"2\"".into())], b"text".to_vec()));
        let server = Server::new(answers);
        let snapshot = server.hub(dir.path()).model("org/name", "main").expect("downloaded");
        assert_eq!(Tensors::open_folder(&snapshot).expect("sound").f32("a").expect("there"), [1.0, 2.0]);
        assert!(!snapshot.join("other.safetensors").exists());
        let snapshot = server.hub(dir.path()).files("org/name", "main", &["sub/a b.txt"]).expect("downloaded");
        assert_eq!(fs::read(snapshot.join("sub/a b.txt")).expect("there"), b"text");
    }

    #[test]
    fn what_goes_wrong_is_named_and_leaves_nothing_behind() {
        let weights = weights();
        type Change = fn(&mut HashMap<String, Answer>);
        let cases: [(&str, Change); 9] = [
            ("has the SHA-256", |answers| answers.get_mut("/cdn/blob").expect("there").2[20] ^= 1),
            ("bytes came of", |answers| answers.get_mut("/cdn/blob").expect("there").2.truncate(30)),
            ("cannot get `model.safetensors`", |answers| {
                answers.get_mut("/cdn/blob").expect("there").1.push(("Content-Length", "9999".into()));
            }),
            ("answers 404 for `model.safetensors`", |answers| drop(answers.remove("/cdn/blob"))),
            ("accept its terms", |answers| answers.get_mut(LIST).expect("there").0 = 403),
            ("is no list", |answers| answers.get_mut(LIST).expect("there").2 = b"<html>".to_vec()),
            ("would leave its folder", |answers| drop(answers.insert(LIST.into(), listing(&["../../x"])))),
            ("has none of", |answers| drop(answers.insert(LIST.into(), listing(&["config.json", "tf_model.h5"])))),
            ("does not tell its hash", |answers| {
                answers.get_mut(&resolved("config.json")).expect("there").1[0].1 = "\"../../x\"".into();
            }),
        ];
        for (reason, change) in cases {
            let dir = temporary();
            let mut answers = answers(&weights);
            change(&mut answers);
            let error = Server::new(answers).hub(dir.path()).model("org/name", "main").expect_err(reason).to_string();
            assert!(error.contains(reason), "{error}\n{reason}");
            assert!(error.contains("`org/name` at `main`") && !error.contains("secret"), "{error}");
            let folder = dir.path().join("models--org--name");
            assert!(!folder.join("refs/main").exists() && !folder.join("blobs").join(hash(&weights)).exists());
            let left = fs::read_dir(folder.join("blobs")).into_iter().flatten().flatten();
            assert!(left.into_iter().all(|entry| !entry.file_name().to_string_lossy().starts_with('.')), "{reason}");
        }
    }

    #[test]
    fn a_hub_that_is_not_there_is_named() {
        let dir = temporary();
        let hub = Hub::at("http://127.0.0.1:1", None, Cache::at(dir.path()));
        let error = hub.model("org/name", "main").expect_err("nobody answers");
        assert!(matches!(error, HubError::Network { .. }), "{error}");
    }
}
