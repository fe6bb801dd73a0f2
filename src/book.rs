macro_rules! pages {
    ($($name:ident: $path:literal),* $(,)?) => {$(
        #[doc = include_str!(concat!("../docs/src/", $path))]
        struct $name;
    )*};
}

pages! {
    Tour: "tour.md",
    Models: "models.md",
    ReadAPlan: "how-to/read-a-plan.md",
    BeforeTheFirstStep: "how-to/before-the-first-step.md",
    FindALearningRate: "how-to/find-a-learning-rate.md",
    ChooseAnOptimizer: "how-to/choose-an-optimizer.md",
    FillBatches: "how-to/fill-batches.md",
    PretrainADecoder: "how-to/pretrain-a-decoder.md",
    ThawStepByStep: "how-to/thaw-step-by-step.md",
    TagTokens: "how-to/tag-tokens.md",
    FindAnswers: "how-to/find-answers.md",
    CompareTexts: "how-to/compare-texts.md",
    OtherAnswers: "how-to/other-answers.md",
    TextsToTexts: "how-to/texts-to-texts.md",
    LabelProteins: "how-to/label-proteins.md",
    ClassifyImages: "how-to/classify-images.md",
    OwnFreezePolicy: "how-to/own-freeze-policy.md",
    ChooseALoss: "how-to/choose-a-loss.md",
    OwnHead: "how-to/own-head.md",
    OwnObjective: "how-to/own-objective.md",
    OwnBackbone: "how-to/own-backbone.md",
    PortACheckpoint: "how-to/port-a-checkpoint.md",
    LoadAndSave: "how-to/load-and-save.md",
    GoOn: "how-to/go-on.md",
    Measure: "how-to/measure.md",
    AnswerWithASavedModel: "how-to/answer.md",
    KeepFrozenStages: "how-to/keep-frozen-stages.md",
    WatchARun: "how-to/watch-a-run.md",
    ChooseADevice: "how-to/choose-a-device.md",
}
