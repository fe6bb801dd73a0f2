//! This crate's side of the comparison with PyTorch: one unit of work for each line on standard input, its seconds on
//! standard output. `benches/compare/run` starts it; `benches/compare/README.md` says what the lines mean.

use burn::tensor::{Bool, Device, Int, Tensor, TensorData};
use clap::{Parser, ValueEnum};
use rekindle::Model;
use rekindle::backbone::{Backbone, Bert, CausalDecoder, Gpt2, Pooled, Pooling, TextInput};
use rekindle::checkpoint::Checkpoint;
use rekindle::data::{BatchOrder, DataError, TextTokenizer, TokenRow, pad_rows};
use rekindle::head::{Classifier, TaskHead};
use rekindle::nn::Precision;
use rekindle::objective::{Batch, CausalLanguage, Draws, Objective, text_input};
use rekindle::optim::{Schedule, Warmup};
use rekindle::params::{Freeze, Rates};
use rekindle::train::{Control, Data, Event, Fit, Keep, Observer, ObserverError, fit};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use std::error::Error;
use std::fs::File;
use std::io::{BufReader, BufWriter, Write, stdin};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

#[derive(Parser, Debug)]
struct Args {
    work: Work,
    /// Folder of a BERT checkpoint, or of a GPT-2 for `gpt-step`, in Hugging Face's layout.
    #[arg(long)]
    model: PathBuf,
    /// JSON file: token ids and labels for `step`, `gpt-step` and `forward`, texts for `embed` and `first`.
    #[arg(long)]
    input: PathBuf,
    /// Where what was computed goes at the end: little-endian f32.
    #[arg(long)]
    values: PathBuf,
    #[arg(long, default_value_t = 32)]
    batch_size: usize,
    /// `step` writes the rows of each of its batches here before it starts (JSON).
    #[arg(long)]
    order: Option<PathBuf>,
    #[arg(long, default_value_t = 5e-5)]
    lr: f64,
    /// f32 or bf16, for `step`.
    #[arg(long, default_value_t = Precision::F32)]
    precision: Precision,
}

#[derive(ValueEnum, Clone, Copy, Debug)]
enum Work {
    /// Optimizer steps of `fit`; the values are the losses.
    Step,
    /// The same on next tokens.
    GptStep,
    /// The first batch in inference; the values are its logits.
    Forward,
    /// All texts to mean-pooled vectors.
    Embed,
    /// The same without waiting for a line: says `ready` when the vectors are there.
    First,
}

/// Rows of token ids, all of one length, each with its class.
#[derive(Deserialize, Debug)]
struct Given {
    ids: Vec<Vec<i64>>,
    labels: Vec<i64>,
    classes: usize,
}

fn main() -> ExitCode {
    rekindle::compute_on_this_thread();
    match run(&Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> Result<(), Box<dyn Error>> {
    let values = match args.work {
        Work::Step => step(args)?,
        Work::GptStep => gpt_step(args)?,
        Work::Forward => forward(args)?,
        Work::Embed => embed(args)?,
        Work::First => first(args)?,
    };
    let mut file = BufWriter::new(File::create(&args.values)?);
    values.iter().try_for_each(|value| file.write_all(&value.to_le_bytes()))?;
    Ok(file.flush()?)
}

/// Trains with `fit` until standard input ends.
fn step(args: &Args) -> Result<Vec<f32>, Box<dyn Error>> {
    let given: Given = read(&args.input)?;
    let mut model = classifier(args, &given)?;
    let rows: Vec<Row> = given.ids.into_iter().zip(given.labels).collect();
    train(args, &mut model, &Rows, &rows)
}

/// As [`step`], on next tokens.
fn gpt_step(args: &Args) -> Result<Vec<f32>, Box<dyn Error>> {
    let given: Given = read(&args.input)?;
    let (device, checkpoint) = (Device::flex(), Checkpoint::open(&args.model)?);
    let config = checkpoint.config::<Gpt2>()?;
    let body = Gpt2::new(&config, Pooling::Mean, 0, &device);
    let fresh = Model::new(body, Gpt2::causal_lm(&config, 0, &device));
    let mut model = checkpoint.model(&fresh)?.module;
    let row = |ids: Vec<i64>| TokenRow { ids: ids.into_iter().map(|id| id as u32).collect(), ..TokenRow::default() };
    let rows: Vec<TokenRow> = given.ids.into_iter().map(row).collect();
    train(args, &mut model, &CausalLanguage::filled_with(0), &rows)
}

fn train<B, H, O>(
    args: &Args,
    model: &mut Model<B, H>,
    objective: &O,
    rows: &[O::Example],
) -> Result<Vec<f32>, Box<dyn Error>>
where
    B: Backbone,
    H: TaskHead<B::Features>,
    O: Objective<Input = B::Input, Targets = H::Targets>,
{
    let Args { batch_size, lr, precision, .. } = *args;
    let config = Fit {
        epochs: 1,
        batch_size,
        rates: Rates::new(lr),
        schedule: Schedule::Linear { warmup: Warmup::Ratio(0.1) },
        bucket: false,
        precision,
        keep: Keep::Last,
        ..Fit::default()
    };
    if let Some(path) = &args.order {
        let order =
            BatchOrder { batch_size, max_tokens: None, seed: config.seed, shuffle: true, bucket: config.bucket };
        serde_json::to_writer(File::create(path)?, &order.batches(&vec![1; rows.len()], 0))?;
    }
    let mut turns = Turns::new();
    let mut observer = StepByStep { turns: &mut turns, losses: vec![] };
    let data = Data { train: rows, validation: &[] };
    fit(model, objective, data, &Freeze::Nothing, &config, &mut [&mut observer])?;
    Ok(observer.losses)
}

fn forward(args: &Args) -> Result<Vec<f32>, Box<dyn Error>> {
    let given: Given = read(&args.input)?;
    let model = classifier(args, &given)?;
    let rows: Vec<Row> = given.ids.into_iter().zip(given.labels).take(args.batch_size).collect();
    let rows: Vec<&Row> = rows.iter().collect();
    let (device, draws) = (Device::flex(), Draws::new(0, 0, &[]));
    Turns::new().serve(|| {
        let input = Rows.batch(&rows, &draws, &device)?.input;
        Ok(model.forward(input).into_data().iter::<f32>().collect())
    })
}

fn embed(args: &Args) -> Result<Vec<f32>, Box<dyn Error>> {
    let embedder = Embedder::open(args)?;
    let texts: Vec<String> = read(&args.input)?;
    Turns::new().serve(|| embedder.embed(&texts, args.batch_size))
}

fn first(args: &Args) -> Result<Vec<f32>, Box<dyn Error>> {
    let texts: Vec<String> = read(&args.input)?;
    let vectors = Embedder::open(args)?.embed(&texts, args.batch_size)?;
    println!("ready");
    Ok(vectors)
}

/// The network with the weights of a `BertForSequenceClassification`.
fn classifier(args: &Args, given: &Given) -> Result<Model<Bert, Classifier>, Box<dyn Error>> {
    let device = Device::flex();
    let checkpoint = Checkpoint::open(&args.model)?;
    let config = checkpoint.config::<Bert>()?;
    let head = Classifier::new(config.hidden_size, given.classes, 0, &device).with_dropout(config.head_dropout());
    let fresh = Model::new(Bert::new(&config, Pooling::Pooler, 0, &device), head);
    Ok(checkpoint.model(&fresh)?.module)
}

fn read<T: DeserializeOwned>(path: &Path) -> Result<T, Box<dyn Error>> {
    Ok(serde_json::from_reader(BufReader::new(File::open(path)?))?)
}

type Row = (Vec<i64>, i64);

/// Classifies rows of one length that are token ids already.
struct Rows;

impl Objective for Rows {
    type Example = Row;
    type Input = TextInput;
    type Targets = Tensor<1, Int>;

    fn batch(
        &self,
        examples: &[&Row],
        _draws: &Draws,
        device: &Device,
    ) -> Result<Batch<TextInput, Tensor<1, Int>>, DataError> {
        let ids: Vec<i64> = examples.iter().flat_map(|(ids, _)| ids.iter().copied()).collect();
        let labels: Vec<i64> = examples.iter().map(|(_, label)| *label).collect();
        let shape = [examples.len(), ids.len() / examples.len()];
        let ids = Tensor::<2, Int>::from_data(TensorData::new(ids, shape), device);
        let mask = Tensor::<2, Bool>::full(shape, true, device);
        let input = TextInput { type_ids: ids.zeros_like(), ids, mask, documents: None };
        Ok(Batch { input, targets: Tensor::from_data(TensorData::new(labels, [examples.len()]), device) })
    }
}

/// Texts to mean-pooled vectors.
struct Embedder {
    backbone: Bert,
    tokenizer: TextTokenizer,
    pad_id: u32,
}

impl Embedder {
    fn open(args: &Args) -> Result<Self, Box<dyn Error>> {
        let checkpoint = Checkpoint::open(&args.model)?;
        let tokenizer = checkpoint.tokenizer()?;
        let backbone = checkpoint.backbone::<Bert>(Pooling::Mean, &Device::flex())?.module;
        Ok(Self { backbone, pad_id: tokenizer.require_pad_id()?, tokenizer })
    }

    /// `[texts, hidden]`, in batches from short to long.
    fn embed(&self, texts: &[String], batch_size: usize) -> Result<Vec<f32>, Box<dyn Error>> {
        let rows = self.tokenizer.encode(texts, self.backbone.max_length())?.rows;
        let lengths: Vec<usize> = rows.iter().map(TokenRow::len).collect();
        let order = BatchOrder::by_length(batch_size);
        let mut vectors = vec![vec![]; texts.len()];
        for indices in order.batches(&lengths, 0) {
            let chosen: Vec<&TokenRow> = indices.iter().map(|index| &rows[*index]).collect();
            let input = text_input(pad_rows(&chosen, self.pad_id), &Device::flex());
            let pooled = self.backbone.forward(input).pooled();
            let width = pooled.dims()[1];
            let values: Vec<f32> = pooled.into_data().iter::<f32>().collect();
            indices.iter().zip(values.chunks(width)).for_each(|(index, vector)| vectors[*index] = vector.to_vec());
        }
        Ok(vectors.concat())
    }
}

/// Waits for its turn, and says how long it took.
struct Turns {
    begun: Instant,
}

impl Turns {
    fn new() -> Self {
        Self { begun: Instant::now() }
    }

    /// Whether there is a turn; false at the end of standard input.
    fn wait(&mut self) -> std::io::Result<bool> {
        let any = stdin().read_line(&mut String::new())? > 0;
        self.begun = Instant::now();
        Ok(any)
    }

    fn done(&self) {
        println!("{}", self.begun.elapsed().as_secs_f64());
    }

    /// Does the work in every turn; gives what came of the last one.
    fn serve(mut self, work: impl Fn() -> Result<Vec<f32>, Box<dyn Error>>) -> Result<Vec<f32>, Box<dyn Error>> {
        println!("ready");
        let mut values = vec![];
        while self.wait()? {
            values = work()?;
            self.done();
        }
        Ok(values)
    }
}

/// Lets `fit` do one step a turn.
struct StepByStep<'a> {
    turns: &'a mut Turns,
    losses: Vec<f32>,
}

impl Observer for StepByStep<'_> {
    fn on(&mut self, event: &Event<'_>) -> Result<Control, ObserverError> {
        match event {
            Event::Start { .. } => println!("ready"),
            Event::Step(info) => {
                self.turns.done();
                self.losses.push(info.loss as f32);
            }
            _ => return Ok(Control::Continue),
        }
        Ok(if self.turns.wait()? { Control::Continue } else { Control::Stop })
    }

    fn must_succeed(&self) -> bool {
        true
    }
}
