"""Hostile SVG: what stands inside the root, and exactly what is left of it (`F-` is the prefix)."""

LEFT: dict[str, tuple[str, str]] = {
    # Code.
    "a script": ("<script>alert(1)</script><rect/>", "<rect/>"),
    "a script from elsewhere": ('<script href="https://x.test/a.js"/>', ""),
    "a script by xlink": ('<script xlink:href="data:text/javascript,alert(1)"/>', ""),
    "a script of HTML": ('<h:script xmlns:h="http://www.w3.org/1999/xhtml">1</h:script>', ""),
    "a script under another prefix": (
        '<s:script xmlns:s="http://www.w3.org/2000/svg">alert(1)</s:script>',
        "",
    ),
    "a script in capitals": ("<SCRIPT>alert(1)</SCRIPT>", ""),
    "a script in a kept group": ("<g><script>1</script><path/></g>", "<g><path/></g>"),
    "a script in a title": ("<title>a<script>1</script>b</title>", "<title>ab</title>"),
    "a script in a path": ("<path><script>1</script></path>", "<path/>"),
    "escaped markup in a title": (
        "<title>&lt;img src=x onerror=alert(1)&gt;</title>",
        "<title>&lt;img src=x onerror=alert(1)&gt;</title>",
    ),
    "markup in CDATA of a text": (
        "<text><![CDATA[</text><script>alert(1)</script>]]></text>",
        "<text>&lt;/text&gt;&lt;script&gt;alert(1)&lt;/script&gt;</text>",
    ),
    "markup in CDATA outside text": ("<g><![CDATA[<script>1</script>]]></g>", "<g/>"),
    "markup in CDATA of a desc": (
        "<desc><![CDATA[<iframe srcdoc='x'>]]></desc>",
        "<desc>&lt;iframe srcdoc='x'&gt;</desc>",
    ),
    "a style closed early in an attribute": (
        "<style><![CDATA[</style><img src=x onerror=alert(1)>]]></style>",
        "",
    ),
    "a handler on a shape": ('<rect onclick="alert(1)" x="1"/>', '<rect x="1"/>'),
    "a handler in capitals": ('<rect ONLOAD="alert(1)"/>', "<rect/>"),
    "a handler of focus": ('<g tabindex="1" autofocus="" onfocusin="alert(1)"/>', "<g/>"),
    "a handler of animation": ('<path onbegin="alert(1)" onend="alert(1)"/>', "<path/>"),
    "a handler nobody knows yet": ('<path onfuture="alert(1)"/>', "<path/>"),
    "a handler under a prefix": ('<g xmlns:o="x" o:onload="alert(1)"/>', "<g/>"),
    "a handler element": (
        '<handler xmlns:ev="http://www.w3.org/2001/xml-events" ev:event="load">alert(1)</handler>',
        "",
    ),
    "a listener": (
        '<listener xmlns="http://www.w3.org/2001/xml-events" event="load" handler="#x"/>',
        "",
    ),
    "an event attribute of XML events": (
        '<g xmlns:ev="http://www.w3.org/2001/xml-events" ev:event="load" ev:handler="#a"/>',
        "<g/>",
    ),
    # Foreign content.
    "foreignObject": (
        '<foreignObject><iframe xmlns="http://www.w3.org/1999/xhtml" src="x"/></foreignObject>',
        "",
    ),
    "foreignObject in other case": ("<foreignobject><body/></foreignobject>", ""),
    "foreignObject in switch": (
        '<switch><foreignObject requiredExtensions="x"/><rect/></switch>',
        "",
    ),
    "an iframe without namespace": ('<iframe xmlns="" src="javascript:1"/>', ""),
    "an HTML image": ('<img xmlns="http://www.w3.org/1999/xhtml" src="x" onerror="1"/>', ""),
    "an HTML element round a shape": (
        '<b xmlns="http://www.w3.org/1999/xhtml"><rect xmlns="http://www.w3.org/2000/svg"/></b>',
        "",
    ),
    "an allowed name in HTML's namespace": (
        '<style xmlns="http://www.w3.org/1999/xhtml">g{fill:red}</style><h:title '
        'xmlns:h="http://www.w3.org/1999/xhtml">a</h:title><rect xmlns=""/>',
        "",
    ),
    "a shape in a title": ("<title>a<text>b</text></title>", "<title>a</title>"),
    "MathML": (
        '<math xmlns="http://www.w3.org/1998/Math/MathML"><mi href="javascript:1"/></math>',
        "",
    ),
    "XInclude": ('<xi:include xmlns:xi="http://www.w3.org/2001/XInclude" href="/etc/passwd"/>', ""),
    "XSLT": (
        '<t:template xmlns:t="http://www.w3.org/1999/XSL/Transform"><t:copy/></t:template>',
        "",
    ),
    "metadata": (
        '<metadata><r:RDF xmlns:r="http://www.w3.org/1999/02/22-rdf-syntax-ns#"/></metadata>',
        "",
    ),
    "an editor's elements": ('<i:pgf xmlns:i="http://ns.adobe.com/x"/><g/>', "<g/>"),
    "audio, video and embeds": ('<audio src="x"/><video src="x"/><embed/><object/>', ""),
    "a canvas": ('<canvas id="a"/>', ""),
    # Motion.
    "animate of a link": (
        '<use href="#b"><animate attributeName="href" to="data:x"/></use><g id="b"/>',
        '<use xlink:href="#F-1"/><g id="F-1"/>',
    ),
    "set of a handler": ('<g><set attributeName="onmouseover" to="alert(1)"/></g>', "<g/>"),
    "animateTransform": ('<g><animateTransform onbegin="1" type="rotate"/></g>', "<g/>"),
    "animateMotion": (
        '<g><animateMotion path="M0,0"><mpath href="x"/></animateMotion></g>',
        "<g/>",
    ),
    "animateColor and discard": ("<g><animateColor/><discard/></g>", "<g/>"),
    # Links and loads.
    "a link by javascript": ('<a href="javascript:alert(1)"><rect/></a>', "<g><rect/></g>"),
    "a link by xlink": ('<a xlink:href="https://x.test"><path/></a>', "<g><path/></g>"),
    "a link in a text": (
        '<text>a<a href="https://x.test">b</a></text>',
        "<text>a<tspan>b</tspan></text>",
    ),
    "a link with a ping and a target": (
        '<a ping="https://x.test" target="_top" download=""><g/></a>',
        "<g><g/></g>",
    ),
    "an image": ('<image href="https://x.test/a.png"/>', ""),
    "an image in base64": ('<image xlink:href="data:image/png;base64,AAAA"/>', ""),
    "an image that is an SVG": ('<image href="data:image/svg+xml,&lt;svg onload=1/&gt;"/>', ""),
    "a use of another file": ('<use href="https://x.test/a.svg#b"/>', "<use/>"),
    "a use of a path": ('<use href="a.svg#b"/>', "<use/>"),
    "a use of data": ('<use xlink:href="data:image/svg+xml;base64,AA#x"/>', "<use/>"),
    "a use of nothing": ('<use href="#missing"/>', "<use/>"),
    "a use whose two links differ": (
        '<use href="//x.test" xlink:href="#a"/><g id="a"/>',
        "<use/><g/>",
    ),
    "a gradient of another file": ('<linearGradient href="a.svg#g"/>', "<linearGradient/>"),
    "a pattern of another file": ('<pattern xlink:href="//x.test/a#g"/>', "<pattern/>"),
    "a text along another file": (
        '<text><textPath href="https://x.test/#p">a</textPath></text>',
        "<text><textPath>a</textPath></text>",
    ),
    "a link on a shape": ('<rect href="#a" xlink:href="javascript:1"/><g id="a"/>', "<rect/><g/>"),
    "tref": ('<text><tref xlink:href="file:///etc/passwd"/></text>', "<text/>"),
    "a cursor": ('<cursor xlink:href="https://x.test/c.cur"/><g cursor="url(x)"/>', "<g/>"),
    "a font from elsewhere": (
        '<font><font-face><font-face-src><font-face-uri xlink:href="x"/></font-face-src>'
        "</font-face></font>",
        "",
    ),
    "a colour profile": ('<color-profile xlink:href="https://x.test"/>', ""),
    "a filter that loads an image": (
        '<filter id="f"><feImage href="https://x.test"/></filter><g filter="url(#f)"/>',
        "<g/>",
    ),
    "a filter of a sheet that matches nothing": (
        '<filter id="f"><style>.x{fill:red}</style></filter><g filter="url(#f)"/>',
        "<g/>",
    ),
    "a filter with a sheet and a title": (
        '<filter id="f"><title>x</title><feComposite/><style>*{fill:red}</style></filter>'
        '<g filter="url(#f)"/>',
        '<filter id="F-1"><feComposite/></filter><g filter="url(#F-1)"/>',
    ),
    "a filter that lost one of its steps": (
        '<filter id="f"><feColorMatrix/><feTurbulence/></filter><g style="filter:url(#f)"/>',
        "<g/>",
    ),
    "a base": ('<g xml:base="https://x.test/"><use href="#a"/></g>', "<g><use/></g>"),
    "xlink's actuate and show": ('<g xlink:actuate="onLoad" xlink:show="replace"/>', "<g/>"),
    "a stylesheet of XML": ('<?xml-stylesheet href="https://x.test/a.css"?><g/>', "<g/>"),
    "a processing instruction of PHP": ("<?php system('x') ?><g/>", "<g/>"),
    "a comment that closes early": ("<!--&gt;<img src=x> --><g/>", "<g/>"),
    "a source set": ('<g src="x" srcset="x" data="x" action="x" formaction="x"/>', "<g/>"),
    # Schemes, dressed up.
    "a scheme in mixed case": ('<use href="JaVaScRiPt:alert(1)"/>', "<use/>"),
    "a scheme with a line end": ('<use href="java&#10;script:alert(1)"/>', "<use/>"),
    "a scheme behind space": ('<use href="&#32;&#9;javascript:alert(1)"/>', "<use/>"),
    "a scheme in references": ('<use href="&#x6a;avascript&#58;alert(1)"/>', "<use/>"),
    "vbscript": ('<use xlink:href="vbscript:msgbox(1)"/>', "<use/>"),
    "a scheme in a fragment": ('<use href="#javascript:alert(1)"/>', "<use/>"),
    "a scheme as a colour": ('<rect fill="javascript:alert(1)"/>', "<rect/>"),
    "a scheme as a length": ('<rect width="data:1"/>', "<rect/>"),
    # References in values.
    "a paint from elsewhere": ('<rect fill="url(https://x.test/#a)"/>', "<rect/>"),
    "a paint from elsewhere in a fallback": (
        '<rect fill="url(#a) url(https://x.test)"/><g id="a"/>',
        "<rect/><g/>",
    ),
    "a paint from elsewhere in quotes": ("<rect fill=\"url('//x.test#a')\"/>", "<rect/>"),
    "a paint of nothing": ('<rect fill="url(#a)"/>', '<rect fill="none"/>'),
    "a paint of nothing with a fallback": ('<rect fill="url(#a) red"/>', '<rect fill="red"/>'),
    "a clip of nothing": ('<g clip-path="url(#a)"/>', "<g/>"),
    "a mask from elsewhere": ('<g mask="url(a.svg#m)"/>', "<g/>"),
    "a marker from elsewhere": ('<path marker-start="url(https://x.test#m)"/>', "<path/>"),
    "a marker at every vertex": ('<path marker-mid="url(#m)" marker="url(#m)"/>', "<path/>"),
    "a filter function": ('<g filter="url(#a) blur(9px)"/>', "<g/>"),
    "an image set": ("<rect fill=\"image-set('x' 1x)\"/>", "<rect/>"),
    "a variable": ('<rect fill="var(--x)"/>', "<rect/>"),
    "an attr function": ('<rect style="fill: attr(href)"/>', "<rect/>"),
    "a url in capitals": ('<rect fill="URL(https://x.test)"/>', "<rect/>"),
    "a url in capitals to a fragment": (
        '<rect fill="URL( \'#a\' )"/><pattern id="a"/>',
        '<rect fill="url(#F-1)"/><pattern id="F-1"/>',
    ),
    "a fragment in mixed quotes": ("<rect fill=\"url('#a&quot;)\"/><g id='a'/>", "<rect/><g/>"),
    # Style attributes.
    "a style that loads": ('<rect style="background: url(https://x.test)"/>', "<rect/>"),
    "a style that loads a fill": (
        '<rect style="fill: url(https://x.test); stroke: red"/>',
        '<rect style="stroke: red"/>',
    ),
    "a style escape": ('<rect style="fill: \\75rl(https://x.test)"/>', "<rect/>"),
    "a style escape of a name": (
        '<rect style="f\\69ll: red; stroke: blue"/>',
        '<rect style="stroke: blue"/>',
    ),
    "a style split by a comment": ('<rect style="fill: u/**/rl(https://x.test)"/>', "<rect/>"),
    "an expression": ('<rect style="width: expression(alert(1))"/>', "<rect/>"),
    "a binding": ('<rect style="-moz-binding: url(x.xml#a)"/>', "<rect/>"),
    "a behaviour": ('<rect style="behavior: url(x.htc); behaviour: url(x)"/>', "<rect/>"),
    "a place on the page": (
        '<rect style="position: fixed; inset: 0; z-index: 9; overflow: visible; fill: red"/>',
        '<rect style="fill: red"/>',
    ),
    "an animation": ('<rect style="animation: a 1s; transition: all 1s"/>', "<rect/>"),
    "a cursor by style": ('<rect style="cursor: url(https://x.test), auto"/>', "<rect/>"),
    "content": ('<text style="content: url(x)">a</text>', "<text>a</text>"),
    "a custom property": ('<g style="--x: url(//x.test)"/>', "<g/>"),
    "a style that leaves its attribute": (
        "<rect style='fill: red\"/>&lt;script>'/>",
        "<rect/>",
    ),
    "a font with a scheme": ('<text style="font-family: x:y">a</text>', "<text>a</text>"),
    # Style elements.
    "an import": ("<style>@import url(https://x.test);</style>", ""),
    "an import and a rule": (
        "<style>@import 'https://x.test'; rect{fill:red}</style><rect/>",
        '<style type="text/css">.F-c1 rect{fill: red}</style><rect/>',
    ),
    "a font face": ("<style>@font-face{font-family:a;src:url(https://x.test)}</style>", ""),
    "a rule inside a query": ("<style>@media all{rect{fill:url(//x)}}</style>", ""),
    "keyframes": ("<style>@keyframes a{from{fill:red}to{fill:blue}}</style>", ""),
    "a rule inside a rule": (
        "<style>g{rect{fill:red} ;stroke:red}text{fill:red}</style>",
        '<style type="text/css">.F-c1 g{stroke: red}.F-c1 text{fill: red}</style>',
    ),
    "a rule that loads": ("<style>rect{fill:url(https://x.test)}</style><rect/>", "<rect/>"),
    "a rule that refers": ("<style>g{fill:url(#a)}</style><g id='a'/>", "<g/>"),
    "a rule with an escape": ("<style>rect{fill:\\75 rl(x);}</style>", ""),
    "a selector with an escape": ("<style>\\72 ect{fill:red}</style>", ""),
    "a selector of attributes": (
        "<style>g[id^='a']{fill:red} rect{fill:red}</style>",
        '<style type="text/css">.F-c1 rect{fill: red}</style>',
    ),
    "a selector of the page": ("<style>body{fill:red} html *{fill:red}</style>", ""),
    "a selector of a class of the page": ("<style>.toolbar{display:none}</style>", ""),
    "a pseudo-class": ("<style>g:hover{fill:red} :root{fill:red}</style>", ""),
    "everything on the page": (
        "<style>*{display:none}</style>",
        '<style type="text/css">.F-c1 *,.F-c1{display: none}</style>',
    ),
    "a comment that hides a rule": (
        "<style>/*</style>*/rect{fill:red}/*<style>*/</style>",
        "",
    ),
    "comments as splitters": ("<style>@im/**/port 'x'; r/**/ect{fi/**/ll:red}</style>", ""),
    "HTML comments in a sheet": ("<style>&lt;!-- rect{fill:red} --&gt;</style>", ""),
    "a sheet that is not CSS": ('<style type="text/less">rect{fill:red}</style>', ""),
    "a sheet with a source": (
        '<style src="https://x.test">text{fill:red}</style>',
        '<style type="text/css">.F-c1 text{fill: red}</style>',
    ),
    "a sheet that never closes": (
        "<style>rect{fill:red;</style>",
        '<style type="text/css">.F-c1 rect{fill: red}</style>',
    ),
    # Names.
    "an id that hides a global": ('<g id="location"/><g id="cookie"/>', "<g/><g/>"),
    "an id that leaves its attribute": ("<g id='a\"onload=\"1'/>", "<g/>"),
    "an id twice": (
        '<g id="a"/><path id="a"/><use href="#a"/>',
        '<g id="F-1"/><path/><use xlink:href="#F-1"/>',
    ),
    "a class of the page": ('<g class="modal btn"/>', "<g/>"),
    "a name and a role of the page": ('<g name="x" role="button" aria-label="x"/>', "<g/>"),
    "an attribute of SVG's namespace": (
        '<g xmlns:s="http://www.w3.org/2000/svg" s:fill="red" s:onload="1"/>',
        "<g/>",
    ),
    "data attributes": ('<g data-x="1" data-bind="alert(1)"/>', "<g/>"),
    # Values.
    "a path that is prose": (
        '<path d="alert(1)"/><path d="M 0 0 L 1e5,-.5z"/>',
        '<path/><path d="M 0 0 L 1e5,-.5z"/>',
    ),
    "a transform that is none": (
        '<g transform="evil(1)"/><g transform="scale(2)"/>',
        '<g/><g transform="scale(2)"/>',
    ),
    "a number of a thousand digits": (f'<rect x="{"9" * 1000}"/>', "<rect/>"),
    "digits of another script": ('<rect x="\u0661"/>', "<rect/>"),
    "a line end in a text": ("<text>a&#10;```svg&#13;b</text>", "<text>a ```svg b</text>"),
}
