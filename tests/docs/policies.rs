[
    Freeze::Nothing,                          // everything trains
    Freeze::Backbone,                         // the head alone trains
    Freeze::Bottom(2),                        // all but the embeddings and the lowest layer
    Freeze::Gradual { epochs: 2 },            // the head first, then one more layer from the top every 2 epochs
    Freeze::Except(vec!["**.bias".parse()?]), // the head, and of the backbone what a selector matches
]
