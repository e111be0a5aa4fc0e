"""The colours of pages, by light and by dark, as CSS variables; one place for all pages."""

from __future__ import annotations

# Pictures are as wide as the page; where that is narrow, they are scrolled and stay readable.
PLOTS = """\
.plot { overflow-x: auto; } .plot svg { display: block; width: 100%; min-width: 740px; }
.plot.half svg { min-width: 440px; } .plot svg text { font-family: inherit !important; }
.plot svg image { image-rendering: pixelated; }"""

PAGE_COLOURS = """\
:root { --ink: #1e293b; --soft: #64748b; --line: #e2e8f0; --before: #cbd5e1; --width: #2563eb;
  --macs: #0d9488; --time: #c2410c; --good: #15803d; --bad: #b91c1c; --paper: #ffffff;
  --ground: #f8fafc; --on-badge: #ffffff; color-scheme: light dark; }
@media (prefers-color-scheme: dark) { :root { --ink: #e2e8f0; --soft: #94a3b8; --line: #334155;
  --before: #475569; --width: #60a5fa; --macs: #2dd4bf; --time: #fb923c; --good: #4ade80;
  --bad: #f87171; --paper: #1e293b; --ground: #0f172a; --on-badge: #0f172a; } }"""
