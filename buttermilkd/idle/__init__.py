"""May jobs run now? What web servers report and what the CPUs do go in; one verdict with its reasons comes out."""
