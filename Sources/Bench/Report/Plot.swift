import Glibc

/// Draws a run as SVG: throughput above, latency below, over one time axis.
///
/// A pure function of the samples, written by hand: no library, no script in the image, and text
/// that stays readable on light and dark backgrounds.
package struct Plot: Sendable {
  private let title: String
  private let samples: [IntervalSample]
  private let seconds: Double

  private static let width = 960.0
  private static let left = 84.0
  private static let right = 940.0
  /// Letters of the heading: 10 units wide at most on average.
  private static let titleCount = 85
  private static let upper = Panel(top: 64, bottom: 270)
  private static let lower = Panel(top: 330, bottom: 536)

  /// Colours that keep their contrast on white and on black (each above 3:1).
  private static let colours = ["#2b83d6", "#d9661f", "#2c9a4b", "#8f64c8"]

  package init(title: String, samples: [IntervalSample]) {
    self.title = title
    self.samples = samples
    seconds = Double(samples.last?.endNanoseconds ?? 1_000_000_000) / 1e9
  }

  /// A line to draw: one value a sample.
  struct Series {
    let name: String
    let values: [Double]
  }

  /// Where on the page a panel lies.
  struct Panel {
    let top: Double
    let bottom: Double

    /// The height of a place between the bottom, 0, and the top, 1.
    func y(_ share: Double) -> Double { bottom - (bottom - top) * min(max(share, 0), 1) }
  }

  /// Where on the page a time lies.
  static func x(_ time: Double, seconds: Double) -> Double {
    left + (right - left) * time / seconds
  }

  /// The document.
  package var text: String {
    var svg = """
      <svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 960 590" width="960" height="590" \
      font-family="system-ui, sans-serif" font-size="13">
      <style>
      text { fill: #444 } .grid { stroke: #888; stroke-opacity: 0.3 } .axis { stroke: #888 }
      .line { fill: none; stroke-width: 1.8; stroke-linejoin: round }
      @media (prefers-color-scheme: dark) { text { fill: #ccc } .back { fill: #16181c } }
      </style>
      <title>\(Self.escaped(title))</title>
      <rect class="back" width="960" height="590" fill="#fff"/>
      <text x="\(Self.number(Self.left))" y="28" font-size="16">\(Self.escaped(shortTitle))</text>

      """
    let rates = throughput
    let rateAxis = Axis(largest: rates.flatMap(\.values).max() ?? 0)
    svg += panel(Self.upper, rates, rateAxis, label: "IOPS") { Figure.short($0) }
    let times = latencies
    // The median and the longest lie orders of magnitude apart.
    let values = times.flatMap(\.values).filter { $0 > 0 }
    let timeAxis = LogarithmicAxis(smallest: values.min() ?? 1, largest: values.max() ?? 1)
    svg += panel(Self.lower, times, timeAxis, label: "latency, logarithmic") { Figure.time($0) }
    svg += timeLine()
    return svg + "</svg>\n"
  }

  /// What fits on a line; all of it is in the document's title.
  private var shortTitle: String {
    title.count <= Self.titleCount ? title : "\(title.prefix(Self.titleCount - 3))..."
  }

  private var throughput: [Series] {
    OperationKind.allCases.compactMap { direction in
      let values = samples.map { sample in
        Double(sample.operationCounts[direction.rawValue])
          / (Double(max(1, sample.lengthNanoseconds)) / 1e9)
      }
      guard values.contains(where: { $0 > 0 }) else { return nil }
      return Series(name: direction.name, values: values)
    }
  }

  private var latencies: [Series] {
    // An interval in which nothing ended has no latency: its point would be a false zero.
    [
      Series(name: "p50", values: samples.map { Double($0.medianNanoseconds) }),
      Series(name: "p99", values: samples.map { Double($0.percentile99Nanoseconds) }),
      Series(name: "max", values: samples.map { Double($0.maximumNanoseconds) }),
    ]
  }

  private func panel(
    _ panel: Panel, _ series: [Series], _ axis: some PlotAxis, label: String,
    _ format: (Double) -> String
  ) -> String {
    var svg = "<g>\n"
    let isEmpty = series.isEmpty || samples.isEmpty
    // An axis of nothing has no figures.
    for tick in isEmpty ? [] : axis.ticks {
      let y = Self.number(panel.y(axis.share(of: tick)))
      svg += "<line class=\"grid\" x1=\"\(Self.number(Self.left))\" y1=\"\(y)\" "
      svg += "x2=\"\(Self.number(Self.right))\" y2=\"\(y)\"/>\n"
      svg += "<text x=\"\(Self.number(Self.left - 8))\" y=\"\(y)\" text-anchor=\"end\" "
      svg += "dominant-baseline=\"middle\">\(format(tick))</text>\n"
    }
    svg += "<line class=\"axis\" x1=\"\(Self.number(Self.left))\" y1=\"\(Self.number(panel.top))\" "
    svg += "x2=\"\(Self.number(Self.left))\" y2=\"\(Self.number(panel.bottom))\"/>\n"
    svg += "<line class=\"axis\" x1=\"\(Self.number(Self.left))\" "
    svg += "y1=\"\(Self.number(panel.bottom))\" x2=\"\(Self.number(Self.right))\" "
    svg += "y2=\"\(Self.number(panel.bottom))\"/>\n"
    svg += "<text x=\"\(Self.number(Self.left))\" y=\"\(Self.number(panel.top - 12))\">"
    svg += "\(label)</text>\n"
    for (index, line) in isEmpty ? [] : Array(series.enumerated()) {
      let colour = Self.colours[index % Self.colours.count]
      svg += drawn(line, panel, axis, colour)
      let x = Self.right - Double(series.count - index) * 84
      let y = panel.top - 16
      svg +=
        "<line x1=\"\(Self.number(x))\" y1=\"\(Self.number(y))\" x2=\"\(Self.number(x + 20))\" "
      svg += "y2=\"\(Self.number(y))\" stroke=\"\(colour)\" stroke-width=\"3\"/>\n"
      svg += "<text x=\"\(Self.number(x + 26))\" y=\"\(Self.number(y + 4))\">\(line.name)</text>\n"
    }
    if isEmpty {
      svg += "<text x=\"512\" y=\"\(Self.number((panel.top + panel.bottom) / 2))\" "
      svg += "text-anchor=\"middle\">nothing was measured</text>\n"
    }
    return svg + "</g>\n"
  }

  /// Runs of samples in which something ended, each a line; one alone is a dot.
  private func drawn(
    _ series: Series, _ panel: Panel, _ axis: some PlotAxis, _ colour: String
  ) -> String {
    var svg = ""
    var points: [String] = []
    func close() {
      if points.count == 1 {
        let place = points[0].split(separator: ",")
        svg += "<circle cx=\"\(place[0])\" cy=\"\(place[1])\" r=\"2.5\" fill=\"\(colour)\"/>\n"
      } else if !points.isEmpty {
        svg += "<polyline class=\"line\" stroke=\"\(colour)\" "
        svg += "points=\"\(points.joined(separator: " "))\"/>\n"
      }
      points = []
    }
    let isRate = OperationKind.allCases.contains { $0.name == series.name }
    for (sample, value) in zip(samples, series.values) {
      guard isRate || sample.operationCount > 0 else {
        close()
        continue
      }
      // In the middle of its interval.
      let middle = Double(sample.endNanoseconds) - Double(sample.lengthNanoseconds) / 2
      let x = Self.x(middle / 1e9, seconds: seconds)
      points.append("\(Self.number(x)),\(Self.number(panel.y(axis.share(of: value))))")
    }
    close()
    return svg
  }

  private func timeLine() -> String {
    var svg = "<g>\n"
    let axis = Axis(largest: seconds, tickCount: 10)
    for tick in samples.isEmpty ? [] : axis.ticks where tick <= seconds * 1.0001 {
      let x = Self.number(Self.x(tick, seconds: seconds))
      svg += "<line class=\"axis\" x1=\"\(x)\" y1=\"536\" x2=\"\(x)\" y2=\"541\"/>\n"
      svg += "<text x=\"\(x)\" y=\"557\" text-anchor=\"middle\">\(axis.text(tick))</text>\n"
    }
    svg += "<text x=\"512\" y=\"580\" text-anchor=\"middle\">seconds since the start</text>\n"
    return svg + "</g>\n"
  }

  /// Two decimals at most, none where they are zero.
  static func number(_ value: Double) -> String {
    var text = Figure.fixed(value, 2)
    while text.hasSuffix("0") { text.removeLast() }
    if text.hasSuffix(".") { text.removeLast() }
    return text
  }

  /// Text as XML takes it; characters that XML has no place for are left out.
  static func escaped(_ text: String) -> String {
    var escaped = ""
    for scalar in text.unicodeScalars {
      switch scalar {
      case "&": escaped += "&amp;"
      case "<": escaped += "&lt;"
      case ">": escaped += "&gt;"
      case "\"": escaped += "&quot;"
      default:
        if scalar.value >= 0x20, scalar.value & 0xFFFE != 0xFFFE {
          escaped.unicodeScalars.append(scalar)
        }
      }
    }
    return escaped
  }
}

/// Where values lie between the bottom and the top of a panel, and which of them are named.
protocol PlotAxis {
  var ticks: [Double] { get }
  func share(of value: Double) -> Double
}

/// An axis from 0 with round ticks: steps of 1, 2 or 5 times a power of ten.
struct Axis: PlotAxis, Equatable {
  let limit: Double
  let step: Double

  init(largest: Double, tickCount: Int = 5) {
    let target = max(largest, 1e-9) / Double(tickCount)
    var power = 1.0
    while power * 10 <= target { power *= 10 }
    while power > target { power /= 10 }
    step = ([1, 2, 5, 10].first { $0 * power >= target * 0.999_999 } ?? 10) * power
    limit = (max(largest, 1e-9) / step - 1e-6).rounded(.up) * step
  }

  /// A tick, with as many decimals as tell it from the next.
  func text(_ tick: Double) -> String {
    var decimals = 0
    var scaled = step
    while scaled < 0.999_999, decimals < 9 {
      scaled *= 10
      decimals += 1
    }
    return Figure.fixed(tick, decimals)
  }

  var ticks: [Double] { (0...Int(limit / step + 0.5)).map { Double($0) * step } }

  func share(of value: Double) -> Double { value / limit }
}

/// An axis on which each step is a factor, with ticks at 1, 2 and 5 times powers of ten, and at the
/// powers alone where those would be too many.
struct LogarithmicAxis: PlotAxis, Equatable {
  let ticks: [Double]

  init(smallest: Double, largest: Double) {
    var candidates: [Double] = []
    for power in 0...18 {
      for digit in [1.0, 2, 5] { candidates.append(digit * Self.power(power)) }
    }
    func covering(_ steps: [Double]) -> [Double] {
      let low = steps.lastIndex { $0 <= smallest } ?? 0
      let high = steps.firstIndex { $0 >= largest } ?? steps.count - 1
      return Array(steps[min(low, steps.count - 2)...max(high, min(low, steps.count - 2) + 1)])
    }
    let fine = covering(candidates)
    ticks = fine.count <= 8 ? fine : covering((0...18).map { Self.power($0) })
  }

  private static func power(_ exponent: Int) -> Double {
    (0..<exponent).reduce(1.0) { value, _ in value * 10 }
  }

  func share(of value: Double) -> Double {
    guard value > 0, let first = ticks.first, let last = ticks.last else { return 0 }
    return log(value / first) / log(last / first)
  }
}
