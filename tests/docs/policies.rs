[
    Freeze::Nothing,                          // everything trains
    Freeze::Backbone,                         // the head alone trains
    Freeze::Bottom(2),                        // all but the embeddings and the lowest layer
    Freeze::Gradual { epochs: 2 },            // the head first, then one more layer from the top every 2 epochs
    "lp-ft:1".parse()?,                       // the head for an epoch, then everything
    Freeze::BitFit,                           // the head, and the biases of the backbone
    Freeze::Except(vec!["**.bias".parse()?]), // the head, and of the backbone what a selector matches
]
