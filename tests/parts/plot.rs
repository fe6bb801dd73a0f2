//! Pictures: what is in them, what is left out and said, and what is refused.

use rekindle::plot::{Heatmap, Line, LineChart, Mark, PlotError, Scale};

fn chart(points: Vec<(f64, f64)>) -> LineChart {
    LineChart {
        title: "Loss & <rate>".into(),
        x_label: "step".into(),
        y_label: "loss".into(),
        lines: vec![Line { name: "train".into(), points }],
        ..LineChart::default()
    }
}

fn heatmap(classes: usize) -> Heatmap {
    let names: Vec<String> = (0..classes).map(|class| format!("class_{class}")).collect();
    let cell = |row: usize, column: usize| if row == column { 30.0 } else { ((row * 7 + column * 3) % 23 / 21) as f64 };
    Heatmap {
        title: "Confusion".into(),
        x_label: "predicted".into(),
        y_label: "actual".into(),
        x_names: names.clone(),
        y_names: names,
        cells: (0..classes).map(|row| (0..classes).map(|column| cell(row, column)).collect()).collect(),
    }
}

/// Every tag is closed in order, and no text holds a bare mark-up character.
fn check_xml(svg: &str) {
    let mut open = vec![];
    for tag in svg.split('<').skip(1) {
        let (tag, text) = tag.split_once('>').unwrap();
        assert!(!text.contains('>'), "{text}");
        match tag.strip_prefix('/') {
            Some(name) => assert_eq!(open.pop().as_deref(), Some(name)),
            None if tag.ends_with('/') => {}
            None => open.push(tag.split(' ').next().unwrap().to_string()),
        }
        assert_eq!(tag.matches('"').count() % 2, 0, "{tag}");
    }
    assert!(open.is_empty(), "{open:?}");
    assert!(!svg.contains("NaN") && !svg.contains("\"inf"), "{svg}");
}

#[test]
fn a_chart_shows_its_lines_marks_and_labels() {
    let mut chart = chart((1..200).map(|step| (step as f64, 1.0 / step as f64)).collect());
    chart.marks.push(Mark { x: 120.0, text: "unfreeze <layer 5>".into() });
    let svg = chart.svg().unwrap();
    check_xml(&svg);
    for text in ["Loss &amp; &lt;rate&gt;", ">step<", ">loss<", ">train<", "unfreeze &lt;layer 5&gt;", "<polyline"] {
        assert!(svg.contains(text), "{text} is not in {svg}");
    }
    assert!(!svg.contains("Not drawn"));
    assert_eq!(svg, chart.svg().unwrap());
}

#[test]
fn what_cannot_be_drawn_is_counted() {
    let mut chart = chart(vec![(1.0, 1.0), (2.0, f64::NAN), (3.0, 2.0), (4.0, 1.5), (5.0, f64::INFINITY), (0.0, 1.0)]);
    let svg = chart.svg().unwrap();
    check_xml(&svg);
    assert!(svg.contains("Not drawn: 2 (not finite)"));
    assert_eq!((svg.matches("<polyline").count(), svg.matches("<circle").count()), (1, 2), "a gap, not a bridge");
    chart.x_scale = Scale::Log10;
    assert!(chart.svg().unwrap().contains("Not drawn: 3 (not finite, or not above 0 on a logarithmic axis)"));
}

#[test]
fn a_long_run_makes_a_small_picture_that_keeps_its_peaks() {
    let mut points: Vec<(f64, f64)> = (0..100_000).map(|step| (step as f64, (step as f64 * 0.7).sin())).collect();
    points[54_321].1 = 50.0;
    let svg = chart(points).svg().unwrap();
    assert!(svg.len() < 60_000, "{}", svg.len());
    let highest = svg.split("points=\"").nth(1).unwrap().split('"').next().unwrap();
    let highest = highest.split(' ').map(|point| point.split_once(',').unwrap().1.parse::<f64>().unwrap());
    // The top of the drawing area is at 46, and the range has 5 % of room.
    assert!(highest.fold(f64::INFINITY, f64::min) < 70.0);
}

#[test]
fn empty_pictures_and_crooked_tables_are_errors() {
    for points in [vec![], vec![(1.0, f64::NAN)]] {
        assert!(matches!(chart(points).svg(), Err(PlotError::Empty { .. })));
    }
    assert!(matches!(Heatmap::default().svg(), Err(PlotError::Empty { .. })));
    let mut table = heatmap(3);
    table.cells[1].pop();
    let error = table.svg().unwrap_err();
    assert!(error.to_string().contains("2 columns in row 1, but 3 names"), "{error}");
    table.cells.pop();
    assert!(matches!(table.svg(), Err(PlotError::Shape { found: 2, expected: 3, .. })));
}

#[test]
fn tables_show_numbers_while_there_is_room_and_names_always() {
    let small = heatmap(4).svg().unwrap();
    check_xml(&small);
    assert!(small.matches(">30</text>").count() == 5 && small.contains("<title>class_2, class_2: 30</title>"));
    let large = heatmap(100).svg().unwrap();
    check_xml(&large);
    assert!(large.matches(">30</text>").count() == 1 && large.contains("<title>class_99, class_99: 30</title>"));
    assert_eq!(large.matches(">class_57</text>").count(), 2);
    let mut gaps = heatmap(3);
    gaps.cells[0][1] = f64::NAN;
    assert!(gaps.svg().unwrap().contains("Grey: 1 not finite"));
}

#[test]
fn pictures_are_saved_whole() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("loss.svg");
    let chart = chart(vec![(0.0, 1.0), (1.0, 0.5)]);
    chart.save(&path).unwrap();
    assert_eq!(std::fs::read_to_string(&path).unwrap(), chart.svg().unwrap());
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    let error = heatmap(2).save(folder.path().join("none/x.svg")).unwrap_err();
    assert!(matches!(error, PlotError::Io { .. }) && error.to_string().contains("none"), "{error}");
}
