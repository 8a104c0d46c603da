# Runs one program: prints what a console would print, draws every page into an SVG file, and writes
# the value of the last expression as R prints it. The program sees an environment of its own below
# the global one, in which the devices and ggsave stand for files that a model would ask for.
local({
  folder <- commandArgs(trailingOnly = TRUE)[[1]]
  pages <- 0
  open_page <- function(width = 7, height = 5, ...) {
    pages <<- pages + 1
    name <- sprintf("figure-%04d-%%04d.svg", pages)
    svglite::svglite(file.path(folder, name), width = width, height = height)
  }
  # Pixels as png() counts them, and inches as svg() and pdf() do.
  inches <- function(size, default) {
    if (!is.numeric(size) || length(size) != 1) return(default)
    if (size > 50) size / 96 else size
  }
  device <- function(filename, width = 7, height = 5, ...) {
    open_page(inches(width, 7), inches(height, 5))
    invisible()
  }
  options(device = open_page, warn = 1, width = 100, digits = 7, menu.graphics = FALSE)

  stand_ins <- new.env(parent = globalenv())
  for (name in c("png", "jpeg", "tiff", "bmp", "svg", "pdf", "cairo_pdf", "postscript", "svglite"))
    assign(name, device, stand_ins)
  assign("ggsave", function(filename, plot = ggplot2::last_plot(), ..., width = 7, height = 5) {
    open_page(inches(width, 7), inches(height, 5))
    print(plot)
    grDevices::dev.off()
    invisible(filename)
  }, stand_ins)
  program <- new.env(parent = stand_ins)

  # A continuous colour bar of ggplot2 would be an image in the SVG unless its default were another;
  # since 3.5 by another argument.
  setHook(packageEvent("ggplot2", "onLoad"), function(...) {
    space <- asNamespace("ggplot2")
    bar <- get("guide_colourbar", space)
    if ("display" %in% names(formals(bar))) formals(bar)$display <- "rectangles"
    else formals(bar)$raster <- FALSE
    for (name in c("guide_colourbar", "guide_colorbar")) {
      unlockBinding(name, space)
      assign(name, bar, space)
    }
  })

  fail <- function(error) {
    call <- conditionCall(error)
    own <- is.null(call) || identical(call[[1]], as.name("eval")) || identical(call[[1]], as.name("parse"))
    place <- if (own) "Error: " else paste0("Error in ", deparse(call, nlines = 1)[[1]], " : ")
    cat(place, conditionMessage(error), "\n", sep = "", file = stderr())
    graphics.off()
    quit(save = "no", status = 1, runLast = FALSE)
  }

  tryCatch({
    expressions <- parse(file.path(folder, "code.R"), keep.source = FALSE, encoding = "UTF-8")
    for (number in seq_along(expressions)) {
      result <- withVisible(eval(expressions[[number]], program))
      if (!result$visible) next
      show_it <- function() if (isS4(result$value)) methods::show(result$value) else print(result$value)
      if (number < length(expressions)) show_it()
      else writeLines(utils::capture.output(show_it()), file.path(folder, "value.txt"))
    }
    graphics.off()
  }, error = fail)
})
