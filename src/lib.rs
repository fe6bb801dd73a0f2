//! Pretrain a transformer, or load a Hugging Face checkpoint; put a task head on it; freeze what should stay; train the
//! rest; measure; save; serve.
//!
//! Pretraining is fine-tuning with manufactured targets, so there is one model shape, a [`Model`] of a backbone under a
//! head, and one function that trains it, [`train::fit`]. An [`objective`] makes batches from labelled texts or hides
//! tokens by itself; a [freeze policy](params::FreezePolicy) decides which parameters train.
//!
//! # A text classifier
//! A folder in the layout of Hugging Face and a table of texts and labels in, a [`predict::Predictor`] out:
//!
//! ```
//! # mod tiny { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/tiny.rs")); }
//! # let folder = tiny::tiny();
//! # std::env::set_current_dir(&folder)?;
//! use rekindle::Model;
//! use rekindle::backbone::{Bert, Pooling};
//! use rekindle::checkpoint::{Checkpoint, save_classifier};
//! use rekindle::data::{Columns, Labels, read_text, stratified_split};
//! use rekindle::head::Classifier;
//! use rekindle::objective::TextClassification;
//! use rekindle::params::{Freeze, Rates};
//! use rekindle::predict::Predictor;
//! use rekindle::train::{Data, Fit, evaluate, fit};
//!
//! // What there is to learn from.
//! let device = rekindle::device("flex")?;
//! let checkpoint = Checkpoint::open("bert")?;
//! let (train, validation) = stratified_split(read_text("tickets.csv", &Columns::default())?, 0.25, 1)?;
//! let task = TextClassification::new(checkpoint.tokenizer()?, Labels::from_examples(&train)?, 128)?;
//! let (train, validation) = (task.encode(&train)?.0, task.encode(&validation)?.0);
//!
//! // The network: a pretrained backbone under a fresh head.
//! let config = checkpoint.config::<Bert>()?;
//! let backbone = checkpoint.backbone::<Bert>(Pooling::Mean, &device)?.module;
//! let mut model = Model::new(backbone, Classifier::new(config.hidden_size, task.labels().len(), 1, &device));
//!
//! // The embeddings and the lowest layer stay as they are, the rest trains.
//! let freeze = Freeze::Bottom(2);
//! let recipe = Fit { epochs: 5, rates: Rates::new(1e-3), ..Fit::default() };
//! let data = Data { train: &train, validation: &validation };
//! let report = fit(&mut model, &task, data, &freeze, &recipe, &mut [])?;
//! assert!(report.trainable_values < report.all_values);
//!
//! // Measure, save, serve.
//! let figures = evaluate(&model, &task, &validation, 32, 1)?.summary();
//! println!("accuracy {:.2}", figures.accuracy.unwrap_or(0.0));
//! save_classifier("saved", &model, &config, &task, &freeze)?;
//! let predictor = Predictor::load("saved", &device)?;
//! let answers = predictor.predict(&["where is my parcel?"])?;
//! println!("{} {:.2}", answers[0].label, answers[0].probability);
//! # assert_eq!(answers[0].probabilities.len(), 3);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Features
//! Each makes the [`device()`] of its name available.
//!
//! - `flex` (default): Burn's pure Rust backend on the CPU.
//! - `ndarray`: the older CPU backend, deprecated in Burn 0.22.
//! - `wgpu`: GPUs through Vulkan, Metal, DirectX and WebGPU.
//! - `cuda`: NVIDIA GPUs.
//!
//! Others add a part:
//!
//! - `tui`: [`train::Dashboard`](train), a run in the terminal.
//! - `hub`: [`checkpoint::hub::download`](checkpoint::hub), models by their names on the Hugging Face Hub.
//!
//! # Where to look
//! Modules stand in the order in which data flows through them:
//!
//! [`data`] reads files and makes token ids; [`objective`] makes batches, whose tensors [`mod@rows`] bundles; a [`backbone`],
//! built from [`nn`], turns them into features; a [`head`] turns features into a [`loss`], and [`model`] holds both;
//! [`params`] decides what trains; [`optim`], [`random`] and [`train`] train it, with a [`cache`] of what frozen stages
//! make; [`metric`] measures, [`plot`] draws; [`checkpoint`] loads and saves; [`predict`] answers, [`extract`] gives vectors.

pub mod data;

pub mod objective;
pub mod rows;

pub mod backbone;
pub mod nn;

pub mod head;
pub mod loss;
pub mod model;

pub mod params;

pub mod cache;
pub mod optim;
pub mod random;
pub mod train;

pub mod metric;
pub mod plot;

pub mod checkpoint;
pub mod extract;
pub mod predict;

mod device;
mod error;
mod file;
#[cfg(feature = "flex")]
mod kernel;
mod nearest;
mod threads;

pub use burn;
pub use device::{DeviceError, device};
pub use error::Error;
pub use model::Model;
pub use threads::compute_on_this_thread;

/// The book's code, as doc tests.
#[cfg(doctest)]
mod book;
