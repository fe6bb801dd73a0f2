use rekindle::backbone::{Bert, Pooling};
use rekindle::checkpoint::{Checkpoint, save_classifier};
use rekindle::data::{Columns, Labels, read_text, stratified_split};
use rekindle::params::{Freeze, Rates};
use rekindle::train::{Data, Fit, fit};
use rekindle::{Model, head::Classifier, objective::TextClassification, predict::Predictor};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let device = rekindle::device("flex")?;
    let checkpoint = Checkpoint::open("bert")?;
    let config = checkpoint.config::<Bert>()?;
    let (train, validation) = stratified_split(read_text("tickets.csv", &Columns::default())?, 0.25, 1)?;
    let task = TextClassification::new(checkpoint.tokenizer()?, Labels::from_examples(&train)?, 128)?;
    let (train, validation) = (task.encode(&train)?.0, task.encode(&validation)?.0);
    let backbone = checkpoint.backbone::<Bert>(Pooling::Mean, &device)?.module;
    let mut model = Model::new(backbone, Classifier::new(config.hidden_size, task.labels().len(), 1, &device));
    let data = Data { train: &train, validation: &validation };
    let recipe = Fit { epochs: 30, rates: Rates::new(1e-2), ..Fit::default() };
    fit(&mut model, &task, data, &Freeze::Backbone, &recipe, &mut [])?;
    save_classifier("saved", &model, &config, &task, &Freeze::Backbone)?;
    let predictor = Predictor::load("saved", &device)?;
    println!("{:?}", predictor.predict(&["where is my parcel?"])?);
    Ok(())
}
