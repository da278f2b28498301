"""Bar charts as SVG, readable on light and dark ground, drawn by hand."""

import dataclasses
from xml.sax.saxutils import escape

WIDTH, MARGIN, LABEL, GAP = 980, 16, 210, 24
BAR, PITCH, VALUE = 14, 20, 84
STYLE = """
  text { font: 12px system-ui, sans-serif; fill: #1f2328; }
  .title { font-size: 16px; font-weight: 600; }
  .group { font-weight: 600; }
  .small { font-size: 11px; fill: #59636e; }
  .ours { fill: #0969da; } .peer { fill: #a5b1bd; } .bound { fill: #d4a72c; }
  .axis { stroke: #d1d9e0; }
  .ground { fill: #ffffff; }
  @media (prefers-color-scheme: dark) {
    text { fill: #e6edf3; } .small { fill: #9198a1; }
    .ours { fill: #4493f8; } .peer { fill: #656e78; } .bound { fill: #bb8009; }
    .axis { stroke: #3d444d; } .ground { fill: #0d1117; }
  }
"""


@dataclasses.dataclass
class Bar:
    """One row: a label, and a value with its text in each panel; None where there is none."""

    label: str
    values: tuple
    texts: tuple
    kind: str = "peer"
    """'ours', 'peer' or 'bound'"""


@dataclasses.dataclass
class Group:
    """Rows under one heading, with a scale of their own in each panel."""

    title: str
    bars: list


def bars(title, note, panels, groups):
    """The picture: a group for each kind of work, a bar for each row, two panels side by side."""
    panel = (WIDTH - 2 * MARGIN - LABEL - GAP * (len(panels) - 1)) / len(panels)
    lefts = [MARGIN + LABEL + index * (panel + GAP) for index in range(len(panels))]
    body, y = [_text(MARGIN, 28, title, "title"), _text(MARGIN, 46, note, "small")], 70
    body += [_text(left, y, heading, "small") for left, heading in zip(lefts, panels)]
    for group in groups:
        y += 22
        body.append(_text(MARGIN, y, group.title, "group"))
        y += 8
        top = y
        for bar in group.bars:
            body.append(_text(MARGIN + 8, y + BAR - 3, bar.label))
            for index, left in enumerate(lefts):
                largest = max((b.values[index] or 0 for b in group.bars), default=0) or 1
                width = (bar.values[index] or 0) / largest * (panel - VALUE)
                body.append(
                    f'<rect class="{bar.kind}" x="{left:.1f}" y="{y}" width="{width:.1f}" '
                    f'height="{BAR}" rx="2"/>')
                body.append(_text(left + width + 5, y + BAR - 3, bar.texts[index]))
            y += PITCH
        body += [
            f'<line class="axis" x1="{left:.1f}" y1="{top - 2}" x2="{left:.1f}" y2="{y - 4}"/>'
            for left in lefts]
    height = y + MARGIN
    return "\n".join([
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" '
        f'viewBox="0 0 {WIDTH} {height}" role="img" aria-label={_quoted(title)}>',
        f"<style>{STYLE}</style>",
        f'<rect class="ground" width="{WIDTH}" height="{height}"/>', *body, "</svg>", ""])


def _text(x, y, text, kind=None):
    style = f' class="{kind}"' if kind else ""
    return f'<text{style} x="{x:.1f}" y="{y}">{escape(text)}</text>'


def _quoted(text):
    return '"' + escape(text, {'"': "&quot;"}) + '"'
