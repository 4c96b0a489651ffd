from buttermilkd.cli.program import main

main()
