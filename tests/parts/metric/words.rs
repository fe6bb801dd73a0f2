//! Entities against seqeval, answers against SQuAD's program.

use rekindle::metric::{
    AnswerScores, ClassScores, Entity, EntityScheme, EntityScores, MetricError, entities, normalise_answer,
};
use serde_json::Value;

use super::{fixture, near, read};

fn three(found: ClassScores, expected: &Value, name: &str) {
    near(found.precision, &expected["precision"], name);
    near(found.recall, &expected["recall"], name);
    near(found.f1, &expected["f1-score"], name);
}

#[test]
fn entities_are_those_of_seqeval() {
    let data = fixture("entities");
    let (actual, predicted): (Vec<Vec<String>>, Vec<Vec<String>>) =
        (read(&data["references"]), read(&data["predictions"]));
    for (scheme, name) in [(EntityScheme::Conll, "default"), (EntityScheme::StrictIob2, "strict_iob2")] {
        let values = &data["values"][name];
        let found = EntityScores::new(&predicted, &actual, scheme).unwrap();
        near(found.micro_average().precision, &values["precision"], name);
        near(found.micro_average().recall, &values["recall"], name);
        near(found.micro_average().f1, &values["f1"], name);
        near(found.macro_average().f1, &values["macro_f1"], name);
        near(found.weighted_average().f1, &values["weighted_f1"], name);
        let report = values["report"].as_object().unwrap();
        three(found.micro_average(), &report["micro avg"], name);
        three(found.macro_average(), &report["macro avg"], name);
        three(found.weighted_average(), &report["weighted avg"], name);
        assert_eq!(found.support(), report["micro avg"]["support"].as_u64().unwrap());
        assert_eq!(found.per_type().count() + 3, report.len());
        for (kind, scores, support) in found.per_type() {
            three(scores, &report[kind], kind);
            assert_eq!(support, report[kind]["support"].as_u64().unwrap(), "{kind}");
        }
        near(found.token_accuracy(), &data["values"]["token_accuracy"], name);
    }
}

#[test]
fn marks_of_ends_and_single_tokens_are_read_as_conll_does() {
    let found = |tags: &[&str]| -> Vec<(String, usize, usize)> {
        let entities = entities(tags, EntityScheme::Conll).unwrap();
        entities.into_iter().map(|Entity { kind, start, end }| (kind, start, end)).collect()
    };
    let entity = |kind: &str, start, end| (kind.to_string(), start, end);
    assert_eq!(found(&["B-X", "I-X", "E-X", "I-X"]), [entity("X", 0, 3), entity("X", 3, 4)]);
    assert_eq!(found(&["S-X", "E-X", "O", "I-Y"]), [entity("X", 0, 1), entity("X", 1, 2), entity("Y", 3, 4)]);
    assert_eq!(found(&["B-a-b", "I-a-b", "I-a"]), [entity("a-b", 0, 2), entity("a", 2, 3)]);
    assert_eq!(found(&["B", "I", "O"]), [entity("_", 0, 2)]);
    assert!(found(&[]).is_empty());
}

#[test]
fn tags_that_cannot_be_measured_are_named() {
    fn new(predicted: &[&[&str]], actual: &[&[&str]], scheme: EntityScheme) -> Result<EntityScores, MetricError> {
        let [predicted, actual] =
            [predicted, actual].map(|rows| rows.iter().map(|row| row.to_vec()).collect::<Vec<_>>());
        EntityScores::new(&predicted, &actual, scheme)
    }
    let conll = EntityScheme::Conll;
    let bad = MetricError::BadTag { row: 1, tag: "X-PER".into() };
    assert_eq!(new(&[&["O"], &["X-PER"]], &[&["O"], &["O"]], conll), Err(bad));
    let bad = MetricError::BadTag { row: 0, tag: "S-PER".into() };
    assert_eq!(new(&[&["O"]], &[&["S-PER"]], EntityScheme::StrictIob2), Err(bad));
    assert_eq!(new(&[&["O", "O"]], &[&["O"]], conll), Err(MetricError::Columns { row: 0, found: 2, expected: 1 }));
    assert_eq!(new(&[], &[], conll), Err(MetricError::Empty));
    assert_eq!(new(&[&["O"]], &[&["O"]], conll).unwrap().micro_average().f1, 0.0);
    let bilou = ["B-PER", "I-PER", "L-PER", "U-PER", "U-LOC", "O", "L-LOC"];
    assert_eq!(entities(&bilou, conll), entities(&["B-PER", "I-PER", "E-PER", "S-PER", "S-LOC", "O", "E-LOC"], conll));
    assert_eq!(entities(&bilou, conll).unwrap().len(), 4);
    for tag in ["", "BPER", "é"] {
        assert!(matches!(entities(&[tag], conll), Err(MetricError::BadTag { .. })), "{tag}");
    }
}

#[test]
fn answers_are_those_of_squad() {
    let data = fixture("squad");
    let examples = data["examples"].as_array().unwrap();
    let predicted: Vec<String> = examples.iter().map(|example| read(&example["prediction"])).collect();
    let accepted: Vec<Vec<String>> = examples.iter().map(|example| read(&example["answers"])).collect();
    let found = AnswerScores::new(&predicted, &accepted).unwrap();
    for (example, (exact, f1)) in examples.iter().zip(found.rows()) {
        let prediction = example["prediction"].as_str().unwrap();
        assert_eq!(normalise_answer(prediction), example["normalized"].as_str().unwrap());
        near(exact, &example["exact"], prediction);
        near(f1, &example["f1"], prediction);
    }
    near(100.0 * found.exact_match(), &data["values"]["exact_match"], "exact match");
    near(100.0 * found.f1(), &data["values"]["f1"], "F1");
}

#[test]
fn a_question_without_an_answer_wants_none() {
    let none: Vec<Vec<&str>> = vec![vec![], vec![]];
    let found = AnswerScores::new(&["", "something"], &none).unwrap();
    assert_eq!(found.rows().collect::<Vec<_>>(), [(1.0, 1.0), (0.0, 0.0)]);
    assert_eq!(AnswerScores::new::<&str, &str>(&[], &[]), Err(MetricError::Empty));
    assert_eq!(normalise_answer("the—theory an\u{1f}A"), "—theory");
}
