use rekindle::Model;
use rekindle::backbone::{Bert, Pooling};
use rekindle::checkpoint::Checkpoint;
use rekindle::data::*;
use rekindle::head::{Classifier, DistilledClassifier};
use rekindle::loss::*;
use rekindle::objective::*;
use rekindle::optim::{Schedule, Warmup};
use rekindle::params::{Freeze, Rates};
use rekindle::train::*;
fn main() -> Result<(), Box<dyn std::error::Error>> {
    let device = rekindle::device("flex")?;
    let ck = Checkpoint::open(std::env::var("REKINDLE_MINILM")?)?;
    let file = |n: &str| read_text(format!("/work/shared/data/banking77/{n}.jsonl"), &Columns::default());
    let (train, test) = (file("train")?, file("test")?);
    let labels = Labels::from_examples(&train)?;
    let task = TextClassification::new(ck.tokenizer()?, labels, 64)?;
    let test: Vec<_> = task.encode(&test)?.0.into_iter().step_by(4).collect();
    let only: Vec<String> = std::env::args().skip(1).collect();
    for (name, loss, reg) in [
        ("plain", ClassLoss::default(), Regularisation::default()),
        ("smooth", ClassLoss { label_smoothing: 0.1, ..Default::default() }, Regularisation::default()),
        (
            "focal",
            ClassLoss { focal: Some(Focal { gamma: 2.0, alpha: None }), ..Default::default() },
            Regularisation::default(),
        ),
        ("r-drop 1", ClassLoss::default(), Regularisation { r_drop: Some(1.0), ..Default::default() }),
        ("l2-sp 0.1", ClassLoss::default(), Regularisation { l2_sp: Some(L2Sp::new(0.1)), ..Default::default() }),
        ("mixout 0.3", ClassLoss::default(), Regularisation { mixout: Some(0.3), ..Default::default() }),
    ] {
        if !only.is_empty() && !only.iter().any(|o| name.starts_with(o.as_str())) {
            continue;
        }
        for seed in 1..=1u64 {
            let rows = task.encode(&sample_per_class(&train, 8, seed)?)?.0;
            let body = ck.backbone::<Bert>(Pooling::Mean, &device)?.module;
            let head = Classifier::new(384, 77, seed, &device).with_loss(loss.clone())?;
            let mut model = Model::new(body, head);
            let config = Fit {
                epochs: 6,
                batch_size: 32,
                rates: Rates::new(5e-4),
                schedule: Schedule::Linear { warmup: Warmup::Ratio(0.1) },
                seed,
                regularisation: reg,
                keep: Keep::Last,
                ..Fit::default()
            };
            let r = fit(&mut model, &task, Data { train: &rows, validation: &[] }, &Freeze::Nothing, &config, &mut [])?;
            let s = evaluate(&model, &task, &test, 32, 1)?.summary();
            println!(
                "{name} seed {seed}: loss {:.3}->{:.3} test acc {:.4} loss {:.3}, {:.1} s, {} steps",
                r.losses[0],
                r.losses[r.losses.len() - 1],
                s.accuracy.unwrap(),
                s.loss,
                r.seconds,
                r.steps
            );
            if name == "plain" && seed == 1 && only.iter().any(|o| o == "distil") {
                let d = Distillation::new(task.clone(), &model);
                let t0 = std::time::Instant::now();
                let taught = d.examples(rows.clone(), 32)?;
                println!("teacher asked in {:.1} s", t0.elapsed().as_secs_f64());
                let mut c = ck.config::<Bert>()?;
                c.num_hidden_layers = 2;
                let mut student = Model::new(
                    Bert::new(&c, Pooling::Mean, 1, &device),
                    DistilledClassifier::new(Classifier::new(384, 77, 1, &device), 2.0, 0.7)?,
                );
                let r = fit(
                    &mut student,
                    &d,
                    Data { train: &taught, validation: &[] },
                    &Freeze::Nothing,
                    &config,
                    &mut [],
                )?;
                println!("student {:?} {:.1}", (r.losses[0], r.losses.last()), r.seconds);
            }
        }
    }
    Ok(())
}
