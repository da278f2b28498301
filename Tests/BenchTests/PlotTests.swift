import Testing

@testable import Bench

@Suite("Bench: plot")
struct PlotTests {
  private func sample(
    _ end: UInt64, reads: UInt64, writes: UInt64 = 0, median: UInt64 = 100, most: UInt64 = 200
  ) -> IntervalSample {
    IntervalSample(
      endNanoseconds: end * 1_000_000_000, lengthNanoseconds: 1_000_000_000,
      operationCounts: [reads, writes, 0], byteCounts: [reads * 4096, writes * 4096, 0],
      medianNanoseconds: median, percentile99Nanoseconds: most, maximumNanoseconds: most)
  }

  @Test(
    "an axis ends at the first round tick that holds the largest value",
    arguments: [
      (0.9, 0.2, 1.0), (1.0, 0.2, 1.0), (1.01, 0.5, 1.5), (4.0, 1.0, 4.0), (7.3, 2.0, 8.0),
      (132_000.0, 50_000.0, 150_000.0), (99.0, 20.0, 100.0), (101.0, 50.0, 150.0),
    ])
  func axisIsRound(largest: Double, step: Double, limit: Double) {
    let axis = Axis(largest: largest)
    #expect(abs(axis.step - step) < step * 1e-9)
    #expect(abs(axis.limit - limit) < limit * 1e-9)
    #expect(axis.ticks.first == 0)
    #expect(abs((axis.ticks.last ?? 0) - limit) < limit * 1e-9)
  }

  @Test(
    "a tick has the decimals that tell it from the next",
    arguments: [(0.039, "0.005"), (0.5, "0.05"), (30.0, "5"), (0.000_02, "0.000002")])
  func ticksAreTold(largest: Double, first: String) {
    let axis = Axis(largest: largest, tickCount: 10)
    let texts = axis.ticks.map(axis.text)
    #expect(texts[1] == first)
    #expect(Set(texts).count == texts.count)
  }

  @Test("a heading too long for the page is cut, and whole in the document's title")
  func longHeading() {
    let title = String(repeating: "x", count: 200)
    let text = Plot(title: title, samples: [sample(1, reads: 1)]).text
    #expect(text.contains("<title>\(title)</title>"))
    #expect(text.contains(">\(String(repeating: "x", count: 82))...</text>"))
  }

  @Test("an axis for nothing still has a length", arguments: [0, -1.0])
  func axisOfNothing(largest: Double) {
    let axis = Axis(largest: largest)
    #expect(axis.limit > 0)
    #expect(axis.ticks.count > 1)
  }

  @Test("values map to places: zero to the bottom, the limit to the top, half to the middle")
  func valuesMapToPlaces() {
    let panel = Plot.Panel(top: 100, bottom: 300)
    let axis = Axis(largest: 50)
    #expect(panel.y(axis.share(of: 0)) == 300)
    #expect(panel.y(axis.share(of: 50)) == 100)
    #expect(panel.y(axis.share(of: 25)) == 200)
    #expect(Plot.x(0, seconds: 10) == 84)
    #expect(Plot.x(10, seconds: 10) == 940)
    #expect(Plot.x(5, seconds: 10) == 512)
  }

  @Test(
    "a logarithmic axis starts and ends at round values around all, with eight ticks at most",
    arguments: [
      (150.0, 900.0, [100, 200, 500, 1000]), (100.0, 100.0, [100, 200]), (1.0, 1.0, [1, 2]),
      (3e4, 4e6, [2e4, 5e4, 1e5, 2e5, 5e5, 1e6, 2e6, 5e6]),
      (150.0, 9e6, [1e2, 1e3, 1e4, 1e5, 1e6, 1e7]),
    ] as [(Double, Double, [Double])])
  func logarithmicAxis(smallest: Double, largest: Double, ticks: [Double]) {
    let axis = LogarithmicAxis(smallest: smallest, largest: largest)
    #expect(axis.ticks == ticks)
    #expect(axis.share(of: ticks[0]) == 0)
    #expect(axis.share(of: ticks[ticks.count - 1]) == 1)
    #expect(axis.share(of: 0) == 0)
  }

  @Test("equal factors are equal lengths on a logarithmic axis")
  func logarithmicSteps() {
    let axis = LogarithmicAxis(smallest: 1000, largest: 1_000_000)
    #expect(abs(axis.share(of: 10_000) - 1.0 / 3) < 1e-12)
    #expect(abs(axis.share(of: 100_000) - 2.0 / 3) < 1e-12)
  }

  @Test("each sample is drawn in the middle of its interval, at its value's height")
  func samplesAreDrawn() {
    // 1000 and 500 IOPS over two seconds; the axis ends at 1000.
    let text = Plot(title: "t", samples: [sample(1, reads: 1000), sample(2, reads: 500)]).text
    // x: 84 + 856 * 0.25 and * 0.75; y: 270 - 206 and 270 - 103.
    #expect(text.contains("points=\"298,64 726,167\""))
    #expect(text.contains(">read</text>"))
    #expect(!text.contains(">write</text>"))
  }

  @Test("an interval in which nothing ended has no latency, and the line is broken there")
  func emptyIntervalBreaksLatency() {
    let text = Plot(
      title: "t",
      samples: [
        sample(1, reads: 10, median: 100, most: 100), sample(2, reads: 0, median: 0, most: 0),
        sample(3, reads: 10, median: 100, most: 100),
      ]
    ).text
    // Throughput is one line with a zero; each latency is two dots.
    #expect(text.components(of: "<polyline") == 1)
    #expect(text.components(of: "<circle") == 6)
  }

  @Test("a plot of nothing says so, and special characters of the title are escaped")
  func nothingAndEscapes() {
    let text = Plot(title: "a<b>&\"c\"\u{1}", samples: []).text
    #expect(text.contains("nothing was measured"))
    #expect(text.components(of: "class=\"grid\"") == 0)
    #expect(text.contains("a&lt;b&gt;&amp;&quot;c&quot;</text>"))
  }
}

extension String {
  /// How often `part` occurs.
  fileprivate func components(of part: String) -> Int {
    var count = 0
    var rest = self[...]
    while !rest.isEmpty {
      if rest.hasPrefix(part) { count += 1 }
      rest = rest.dropFirst()
    }
    return count
  }
}
